"""``funrecipe report RESULT_DIR``: ``report.html``, one page that opens offline, and ``RESULTS.md``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from funrecipe.jobs.shards import ShardEntry
    from funrecipe.score.report import Audio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("result_dir", type=Path, help="output_dir or 1best_recog of a scored run")
    add("--out_dir", type=Path, help="folder of report.html and RESULTS.md (default: the output_dir of the run)")
    add("--data_dir", type=Path, help="Kaldi data directory with utt2spk, utt2set, utt2dur (default: that of the run)")
    add("--hotwords", help="file (one per line), or the words themselves, for their recall and precision")
    add(
        "--audio",
        default="link",
        choices=("link", "embed", "none"),
        help="relative links to the audio files (default), the audio inside the page, or none",
    )
    add("--digest", help="refuse the results of any plan but this one")
    add("--title", help="title of the page (default: the name of the result folder)")


def run(args: argparse.Namespace) -> None:
    from funrecipe.decode.hotwords import read_hotwords
    from funrecipe.errors import DataError
    from funrecipe.files import write_text
    from funrecipe.jobs.run_record import read_run_record
    from funrecipe.score.report import RunFacts, render_html, render_markdown
    from funrecipe.score.result_folder import ResultFolder
    from funrecipe.score.scoring import score_normalized
    from funrecipe.score.side_information import SideStream
    from funrecipe.score.summary import analysis_json, summary_json

    if args.data_dir and not args.data_dir.is_dir():
        raise DataError(f"no data directory '{args.data_dir}'", where="--data_dir", hint="name that of the run")
    folder = ResultFolder.open(args.result_dir)
    record = read_run_record(folder.output_dir, args.digest)
    protocol = folder.summary().get("protocol", {})
    refs, hyps = folder.texts()
    scoring = score_normalized(
        refs,
        hyps,
        profile_name=(protocol.get("normalization") or "").split(" ")[0] or None,
        unit=protocol.get("tokens", "mixed"),
        missing_policy=protocol.get("missing", "strict"),
    )
    data_dir = args.data_dir or record.data_dir
    side = SideStream(data_dir, durations_s=record.durations_s, hotwords=read_hotwords(args.hotwords)).of(scoring.ids)
    summary = summary_json(scoring, folder.summary().get("meta", record.summary))
    summary["analysis"] = analysis_json(scoring, side)
    facts = RunFacts(
        title=args.title or folder.output_dir.resolve().name,
        audio=_audio(record.entries(), data_dir),
        durations_s=side.durations_s or {},
        speaker_of=side.speaker_of or {},
        workers=record.workers(),
        speechio=folder.speechio(),
    )
    out_dir = args.out_dir or folder.output_dir
    page = render_html(scoring, summary, facts, page_folder=out_dir.absolute(), audio_mode=args.audio)
    write_text(out_dir / "report.html", page)
    write_text(out_dir / "RESULTS.md", render_markdown(scoring, summary, facts))
    print(f"{out_dir / 'report.html'} ({len(page.encode()) / 1e6:.1f} MB), {out_dir / 'RESULTS.md'}")


def _audio(entries: Mapping[str, ShardEntry], data_dir: Path | None) -> dict[str, Audio]:
    """Audio of the utterances, by the plan of the run; without a plan, by the data directory."""
    from funrecipe.data.kaldi_dir import read_data_dir
    from funrecipe.score.report import Audio

    if entries:
        return {key: Audio(entry.audio, entry.start_s, entry.end_s) for key, entry in entries.items()}
    if data_dir is None or not (data_dir / "wav.scp").exists():
        return {}
    utterances = read_data_dir(data_dir, allow_pipes=True).utterances
    return {u.utt_id: Audio(u.audio, u.start_s, u.end_s) for u in utterances}
