"""``funrecipe diarize``: embeddings of windows, as a run with ``--windows true`` merges them -> RTTM."""

from __future__ import annotations

import argparse
from pathlib import Path

from funrecipe.errors import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--data_dir",
        type=Path,
        required=True,
        help="data directory of the run; its segments give the place of each line in its recording",
    )
    add(
        "--num_speakers",
        type="positive",
        help="number of speakers of each recording (default: data_dir/reco2num_spk, else estimated)",
    )
    add("--allow_pipes", choices=("true", "false"), default="false", help="allow commands in wav.scp (none is run)")
    add("results", metavar="TEXT", type=Path, help="1best_recog/text of the run")
    add("rttm", metavar="RTTM", type=Path, help="file to write")


def run(args: argparse.Namespace) -> None:
    from funrecipe.data.kaldi_dir import read_data_dir
    from funrecipe.score.rttm import SpeakerTurn, write_rttm
    from funrecipe.speaker.from_results import diarize_results, places_of, read_speaker_counts

    data = read_data_dir(args.data_dir, allow_pipes=args.allow_pipes == "true")
    counts = args.num_speakers or read_speaker_counts(args.data_dir / "reco2num_spk")
    found, missing = diarize_results(args.results, places_of(data.utterances), counts)
    turns = {
        recording: [SpeakerTurn(turn.start_s, turn.end_s, str(turn.speaker)) for turn in diarization.turns]
        for recording, diarization in found.items()
    }
    write_rttm(args.rttm, turns)
    speakers = sum(len({turn.speaker for turn in recording}) for recording in turns.values())
    num_turns = sum(map(len, turns.values()))
    said = [count(len(turns), "recording"), f"{count(num_turns, 'turn')} of {count(speakers, 'speaker')}"]
    print(f"{', '.join(said)} in {args.rttm}")
    if missing:  # they failed, or the data directory has changed since
        print(f"{count(len(missing), 'utterance')} without an embedding, taken for silence: {', '.join(missing[:5])}")
