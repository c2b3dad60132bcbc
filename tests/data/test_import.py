"""Data directories of what users have: each kind of source, ids by a stated rule, every line accounted for."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from funrecipe.cli import main
from funrecipe.data.import_dir import collect, write_kaldi_dir
from funrecipe.data.kaldi_dir import read_data_dir
from funrecipe.data.sources import read_source
from funrecipe.errors import DataError, UsageError


def wav(path: Path, seconds: float = 0.2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(int(16000 * seconds)), 16000)
    return path


def imported(source: Path, out: Path, *options: str) -> dict[str, str]:
    assert main(["import", str(source), "--out", str(out), *options]) == 0
    return {path.name: path.read_text("utf-8") for path in out.iterdir()}


def test_a_folder_with_texts_beside_the_audio(tmp_path: Path) -> None:
    source = tmp_path / "my data"
    for name in ("a/x y.wav", "b/x y.wav", "c.flac", "d.wav"):
        wav(source / name)
    (source / "a/x y.txt").write_text("今天\n天气\n", "utf-8")
    (source / "b/x y.lab").write_text("0 100 hello\n100 200 world\n")
    (source / "c.trn").write_text("好 (spk_1)\nh ao3\n", "utf-8")
    files = imported(source, tmp_path / "out")
    assert files["text"] == "c 好\nx_y 今天 天气\nx_y_2 hello world\n"
    assert files["wav.scp"].splitlines()[1] == f"x_y {source}/a/x y.wav"
    assert files["left_out.tsv"] == f"{source}/d.wav\tit has no text, but others do\n"
    assert "segments" not in files and "utt2spk" not in files
    data = read_data_dir(tmp_path / "out")
    assert [u.audio for u in data.utterances][1] == f"{source}/a/x y.wav"


def test_a_folder_with_a_transcript_file_as_aishell_has(tmp_path: Path) -> None:
    wav(tmp_path / "wav/S0002/BAC009S0002W0122.wav")
    (tmp_path / "transcript.txt").write_text("BAC009S0002W0122 而 对 楼市\nBAC009S0002W0123 没有\n", "utf-8")
    transcript = str(tmp_path / "transcript.txt")
    files = imported(tmp_path / "wav", tmp_path / "out", "--transcript", transcript)
    assert files["text"] == "BAC009S0002W0122 而 对 楼市\n"
    assert "no such audio file 'BAC009S0002W0123'" in files["left_out.tsv"]


def test_a_folder_given_by_a_relative_path(tmp_path: Path, monkeypatch) -> None:
    wav(tmp_path / "my/data/a/x.wav")
    (tmp_path / "my/data/a/x.txt").write_text("你好\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    files = imported(Path("my/data"), Path("out"))
    assert files["wav.scp"] == f"x {tmp_path}/my/data/a/x.wav\n" and files["text"] == "x 你好\n"
    monkeypatch.chdir("my")
    assert imported(Path("../my/data"), Path("out"))["wav.scp"] == files["wav.scp"]


def test_a_text_that_is_not_utf_8_is_left_out_with_its_reason(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        wav(tmp_path / f"in/{name}.wav")
    (tmp_path / "in/good.txt").write_text("你好", "utf-8")
    (tmp_path / "in/bad.txt").write_text("你好", "gbk")
    files = imported(tmp_path / "in", tmp_path / "out")
    assert files["text"] == "good 你好\n"
    assert files["left_out.tsv"].startswith(f"{tmp_path}/in/bad.txt\tcannot read the text: 'utf-8'")


def test_a_transcript_with_two_texts_of_one_name_is_refused(tmp_path: Path) -> None:
    wav(tmp_path / "in/a.wav")
    (tmp_path / "t.txt").write_text("a 一\na  一\nb 二\na 三\n", "utf-8")
    with pytest.raises(DataError, match=r"'a' has another text(.|\n)*t\.txt:4"):
        list(read_source(tmp_path / "in", {}, tmp_path / "t.txt"))


def test_funasrs_jsonl_with_labels(tmp_path: Path) -> None:
    wav(tmp_path / "one.wav")
    rows = [
        {"key": "u/1", "source": "one.wav", "target": "你好", "text_language": "<|zh|>", "emo_target": "<|HAPPY|>"},
        {"key": "u2", "source": "gone.wav", "target": "x"},
        {"key": "u3", "source": "one.wav", "target": 7},
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "list.jsonl").write_text("\n".join([*lines, "{broken", "[]"]), "utf-8")
    files = imported(tmp_path / "list.jsonl", tmp_path / "out")
    assert (files["text"], files["utt2lang"], files["utt2emotion"]) == ("u_1 你好\n", "u_1 zh\n", "u_1 HAPPY\n")
    reasons = [line.split("\t") for line in files["left_out.tsv"].splitlines()]
    assert [where.rpartition(":")[2] for where, _ in reasons] == ["2", "3", "4", "5"]
    assert "no such audio file 'gone.wav'" in reasons[0][1] and "not valid JSON" in reasons[2][1]


def test_a_table_of_common_voice_keeps_quotation_marks(tmp_path: Path) -> None:
    wav(tmp_path / "clips/cv_1.wav")
    wav(tmp_path / "clips/cv_2.wav")
    rows = (
        'client_id\tpath\tsentence\nspk 1\tcv_1.wav\tHe said "no".\nspk2\tcv_2.wav\t"open\nspk2\tcv_3.wav\tgone\nx\ty\n'
    )
    (tmp_path / "train.tsv").write_text(rows)
    files = imported(tmp_path / "train.tsv", tmp_path / "out")
    assert files["text"] == 'cv_1 He said "no".\ncv_2 "open\n'
    assert files["utt2spk"] == "cv_1 spk_1\ncv_2 spk2\n"
    assert files["left_out.tsv"].count("\n") == 2 and "as many fields as the header" in files["left_out.tsv"]


def test_a_csv_with_columns_of_other_names(tmp_path: Path) -> None:
    wav(tmp_path / "audio/a.wav")
    (tmp_path / "t.csv").write_text('sound,words,name\na.wav,"one, two",n1\n')
    with pytest.raises(UsageError, match="cannot tell which column holds the audio"):
        list(read_source(tmp_path / "t.csv", {}))
    with pytest.raises(UsageError, match="has no column 'sond'"):
        list(read_source(tmp_path / "t.csv", {"audio": "sond"}))
    options = ("--audio_column", "sound", "--text_column", "words", "--id_column", "name")
    files = imported(tmp_path / "t.csv", tmp_path / "out", *options, "--audio_dir", str(tmp_path / "audio"))
    assert files["text"] == "n1 one, two\n"


def test_lhotse_cuts_become_segments(tmp_path: Path) -> None:
    wav(tmp_path / "long.wav", 3.0)
    recording = {"id": "r", "duration": 3.0, "sources": [{"type": "file", "channels": [0], "source": "long.wav"}]}
    said = {"id": "s", "text": "hello", "speaker": "A"}
    cuts = [
        {"id": "c1", "start": 0.5, "duration": 1.25, "recording": recording, "supervisions": [said]},
        {"id": "c2", "start": 0, "duration": 3.0, "recording": recording, "supervisions": [said]},
        {"id": "c3", "start": 0, "duration": 3.0, "recording": recording, "supervisions": [said, said]},
        {"id": "c4", "type": "MixedCut", "tracks": []},
        *(
            {"id": "c5", "duration": 3.0, "recording": {**recording, **odd}}
            for odd in ({"sources": 5}, {"sources": ["x"]})
        ),
        *(
            {"id": "c6", "duration": 3.0, "recording": recording, "supervisions": odd}
            for odd in (7, [{"text": 8}], [[]])
        ),
    ]
    with gzip.open(tmp_path / "cuts.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(cut) + "\n" for cut in cuts)
    files = imported(tmp_path / "cuts.jsonl.gz", tmp_path / "out")
    assert files["wav.scp"] == f"long {tmp_path}/long.wav\n"
    assert files["segments"] == "c1 long 0.500 1.750\nc2 long 0.000 -1\n"
    assert "2 supervisions" in files["left_out.tsv"] and files["left_out.tsv"].count("\n") == 7
    assert files["left_out.tsv"].count("not as lhotse writes them") == 5
    assert [(u.start_s, u.end_s) for u in read_data_dir(tmp_path / "out").utterances] == [(0.5, 1.75), (0.0, None)]


def test_an_id_that_looks_like_a_made_one_is_not_taken_twice(tmp_path: Path) -> None:
    for name in ("a", "a_2", "b/a", "c/a", "take...1"):
        wav(tmp_path / f"{name}.wav")
    found = collect(read_source(tmp_path, {}), tmp_path)
    assert list(found.items) == ["a", "a_2", "a_3", "a_4", "take__.1"]  # ids with two dots are refused elsewhere
    assert len({item.audio for item in found.items.values()}) == 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "path,sentence\na.wav,你好\n".encode("gb18030")),
        ("a.csv", b"path,sentence\na.wav," + b"x" * 200_000),
        ("a.jsonl", '{"key": "a", "source": "a.wav", "target": "你"}\n'.encode("gb18030")),
        ("a.jsonl.gz", gzip.compress(b'{"key": "a", "source": "a.wav"}\n' * 500, mtime=0)[:-20]),
    ],
)
def test_a_source_is_read_whole_or_refused(name: str, content: bytes, tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read to its end"):
        collect(read_source(tmp_path / name, {}), tmp_path)


def test_nothing_to_import_and_a_full_folder_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no utterance can be imported"):
        write_kaldi_dir(collect(read_source(tmp_path / "empty", {}), tmp_path), tmp_path / "out")
    wav(tmp_path / "src/a.wav")
    found = collect(read_source(tmp_path / "src", {}), tmp_path)
    with pytest.raises(DataError, match="not empty"):
        write_kaldi_dir(found, tmp_path / "src")
    with pytest.raises(DataError, match="no such source"):
        read_source(tmp_path / "nowhere", {})
    with pytest.raises(DataError, match="of an unknown kind"):
        read_source(wav(tmp_path / "x.wav"), {})


def test_a_name_that_would_be_a_command_is_left_out(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / "a.wav").rename(tmp_path / "touch x |")
    (tmp_path / "l.jsonl").write_text('{"key": "k", "source": "touch x |"}\n')
    found = collect(read_source(tmp_path / "l.jsonl", {}), tmp_path)
    assert not found.items and "would be a command" in found.left_out[0][1]


@pytest.mark.parametrize(
    ("source", "option"),
    [
        ("wavs", "--text_column"),
        ("list.jsonl", "--id_column"),
        ("list.csv", "--transcript"),
        ("list.jsonl", "--transcript"),
    ],
)
def test_an_option_of_another_kind_of_source_is_refused(source, option, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    wav(tmp_path / "wavs/a.wav")
    (tmp_path / "list.jsonl").write_text('{"key": "a", "source": "wavs/a.wav", "target": "x"}\n')
    (tmp_path / "list.csv").write_text("path,sentence\nwavs/a.wav,x\n")
    assert main(["import", source, "--out", "out", option, "list.csv"]) == 2
    assert f"{option} has no effect" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_transcript_that_is_not_there(tmp_path: Path, capsys) -> None:
    wav(tmp_path / "wavs/a.wav")
    arguments = ["import", str(tmp_path / "wavs"), "--out", str(tmp_path / "out"), "--transcript", str(tmp_path / "no")]
    assert main(arguments) == 3
    assert capsys.readouterr().err == (
        "funrecipe import: cannot read the text: No such file or directory\n"
        f"  at: {tmp_path / 'no'}\n  do: give a text file in UTF-8\n"
    )
