"""Values of options that no verb can do anything with: empty paths, negative counts, NaN."""

from __future__ import annotations

import pytest

from funrecipe.cli import main


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
