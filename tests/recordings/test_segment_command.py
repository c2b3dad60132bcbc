"""``funrecipe segment``: recordings are cut once, and what the steps to come would refuse is refused now."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from funrecipe.cli import main

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "egs" / "quickstart"
VAD = QUICKSTART / "vad"
PARITY = ROOT / "tests" / "data" / "parity"
SPOKEN = sorted((QUICKSTART / "data" / "wav").glob("*.flac"))[:3]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A recording of three utterances with a second of silence around each."""
    folder = tmp_path_factory.mktemp("data")
    silence = np.zeros(16000, np.float32)
    parts = [part for path in SPOKEN for part in (silence, soundfile.read(path, dtype="float32")[0])]
    soundfile.write(folder / "a.wav", np.concatenate([*parts, silence]), 16000)
    (folder / "wav.scp").write_text(f"a {folder}/a.wav\n")
    return folder


def segment(data, out, *arguments):
    return main(["segment", "--data_dir", str(data), *map(str, arguments), "--", str(out)])


def pieces(out):
    return [line.split()[2:4] for line in (out / "pieces").read_text().splitlines()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vad_model", PARITY / "campplus"], "is for speaker, not for vad"),
        (["--vad_model", VAD, "--punc_model", VAD], "is for vad, not for punctuation"),
        (["--vad_model", VAD, "--spk_model", VAD], "is for vad, not for speaker"),
        (["--vad_model", "auto"], "vad_model is auto, but no recognizer is given"),
        (
            ["--punc_model", "auto", "--model", QUICKSTART / "model"],
            "punc_model is auto, but the recognizer names none",
        ),
        (["--vad_model", VAD, "--formats", "srt,doc"], "unknown format 'doc'"),
        (["--vad_model", VAD, "--max_piece_s", "1"], "max_piece_s is 1"),
        (["--merge_vad", "true"], "merge_vad has no effect without a VAD model"),
        (["--vad_model", VAD, "--channel", "0"], "channel"),
    ],
    ids=lambda value: " ".join(map(str, value)).replace(str(ROOT), "") if isinstance(value, list) else "",
)
def test_what_later_steps_would_refuse_is_refused_before_anything_is_cut(arguments, message, data, tmp_path, capsys):
    assert segment(data, tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pieces_are_cut_anew_only_when_something_changed(data, tmp_path, capsys):
    out = tmp_path / "out"
    for arguments, is_new, number in (
        ([], True, 3),
        ([], False, 3),
        (["--merge_vad", "true"], True, 1),
        (["--merge_vad", "true", "--merge_length_s", "15"], False, 1),
        (["--merge_vad", "true", "--merge_length_s", "9"], True, 2),
    ):
        assert segment(data, out, "--vad_model", VAD, *arguments) == 0
        assert ("up to date" in capsys.readouterr().out) != is_new
        assert len(pieces(out)) == number


def test_a_recording_of_less_than_a_millisecond_has_no_pieces_and_stops_no_other(data, tmp_path):
    soundfile.write(tmp_path / "b.wav", np.ones(15, np.float32), 16000)
    soundfile.write(tmp_path / "c.wav", np.ones(16, np.float32), 16000)
    (tmp_path / "wav.scp").write_text(f"a {data}/a.wav\nb {tmp_path}/b.wav\nc {tmp_path}/c.wav\n")
    assert segment(tmp_path, tmp_path / "out") == 0
    assert [line.split()[1:3] for line in (tmp_path / "out" / "pieces").read_text().splitlines()] == [
        ["a", "0"],
        ["c", "0"],
    ]
    assert main(["validate", "--data_dir", str(tmp_path / "out")]) == 0
