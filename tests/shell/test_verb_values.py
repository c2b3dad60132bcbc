"""Values of options that no verb can do anything with: empty paths, negative counts, NaN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from funrecipe.cli import main

QUICKSTART = Path(__file__).resolve().parents[2] / "egs/quickstart/model"
PUNCTUATION = QUICKSTART.parents[2] / "tests/data/parity/punc_ct_transformer"


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "--data_dir", ""],
        ["validate", "--data_dir", "data", "--fix", ""],
        ["report", ""],
        ["transcribe", "x.wav", "--ncpu", "-1"],
        ["splice", "--count", "-1", "data", "out"],
        ["segment", "--njob", "-1", "--data_dir", "data", "out"],
        ["launch", "--plan", "plan.json", "--stall_timeout_s", "nan"],
        ["transcribe", "x.pcm", "--audio_fs", "16"],
        ["transcribe", "x.wav", "--ncpu", "99999999999999999999"],
        ["align", "--model", "m", "wav.scp", "text", "out", "--ncpu", "0"],
        ["plan", "--output_dir", "out", "--ncpu", "100000"],
    ],
)
def test_what_means_nothing_is_a_usage_error_and_writes_nothing(arguments, tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wav.scp").write_text("a a.wav\n")
    (tmp_path / "wav.scp").write_text("here before\n")  # an empty path would be this folder
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error: argument" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "wav.scp"]
    assert (tmp_path / "wav.scp").read_text() == "here before\n"


VERBS_THAT_WRITE = {
    "import": ["data", "--audio_dir", ".", "--out", "OUT"],
    "validate": ["--data_dir", "data", "--fix", "OUT"],
    "plan": ["--model", "MODEL", "--data_dir", "data", "--output_dir", "OUT"],
    "segment": ["--data_dir", "data", "OUT"],
    "transcribe": ["data/a.wav", "--output_dir", "OUT"],
    "tokens": ["--data_dir", "data", "--out", "OUT/tokens.txt"],
    "cmvn": ["--data_dir", "data", "--config", "MODEL/config.yaml", "--out", "OUT/am.mvn"],
    "train": ["--model", "MODEL", "--data_dir", "data", "--output_dir", "OUT"],
}


@pytest.mark.parametrize("verb", VERBS_THAT_WRITE)
def test_a_folder_that_cannot_be_created_has_one_exit_code(verb: str, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wav.scp").write_text("a data/a.wav\n")
    (tmp_path / "data/text").write_text("a 甚至\n")
    soundfile.write(tmp_path / "data/a.wav", np.zeros(16000, np.int16), 16000)
    (tmp_path / "a file").write_text("")
    monkeypatch.chdir(tmp_path)
    written = [part.replace("OUT", "a file/below").replace("MODEL", str(QUICKSTART)) for part in VERBS_THAT_WRITE[verb]]
    assert main([verb, *written]) == 5
    assert "cannot write" in capsys.readouterr().err
    assert (tmp_path / "a file").read_text() == ""


def test_a_negative_time_ends_no_job(tmp_path: Path, capsys) -> None:
    assert main(["launch", "--plan", str(tmp_path), "--stall_timeout_s", "-1"]) == 2
    assert "stall_timeout_s is -1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["der", "--ref", "no", "--hyp", "no"],
        ["cmvn", "--data_dir", ".", "--config", "no", "--out", "am.mvn"],
        ["train", "--config", "no", "--data_dir", ".", "--output_dir", "out", "--check", "model"],
        ["score", "--ref", "no", "--hyp", "no"],
        ["train_on_slurm", "--output_dir", "out", "--backend_opts", "no"],
        ["punctuate", "--model", str(PUNCTUATION), "--weights", "no", "texts", "out"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_file_that_is_not_there_is_answered_with_what_to_do(arguments, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "texts").write_text("a x\n")
    monkeypatch.chdir(tmp_path)
    assert main(arguments) in (2, 3)
    assert "  at: no\n  do: name a file" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["inf", "-1"])
def test_pieces_have_a_finite_length(value: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "wav.scp").write_text(f"a {tmp_path / 'a.wav'}\n")
    soundfile.write(tmp_path / "a.wav", np.zeros(16000, np.int16), 16000)
    arguments = ["segment", "--data_dir", str(tmp_path), f"--max_piece_s={value}", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert f"max_piece_s is {value}" in capsys.readouterr().err
