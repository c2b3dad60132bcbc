"""Data directories: what is taken, what is put right, what is refused with file:line, and ``--fix``."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from funrecipe.cli import main
from funrecipe.data.durations import duration_s
from funrecipe.data.kaldi_dir import check_data_dir, read_data_dir
from funrecipe.errors import DataError, UnsafeFileError


@pytest.fixture
def make_dir(tmp_path):
    def make(**lists):
        folder = tmp_path / "data dir"
        folder.mkdir(exist_ok=True)
        for name, content in lists.items():
            data = content if isinstance(content, bytes) else content.encode()
            (folder / name.replace("wav_scp", "wav.scp")).write_bytes(data)
        return folder

    return make


def test_a_plain_directory(make_dir):
    data = read_data_dir(make_dir(wav_scp="b /x/b.wav\na /x/a c.wav\n", text="a 你 好\nb hi\n", utt2spk="a s\nb t\n"))
    assert [(u.utt_id, u.audio) for u in data.utterances] == [("a", "/x/a c.wav"), ("b", "/x/b.wav")]
    assert data.texts == {"a": "你 好", "b": "hi"} and data.speakers == {"a": "s", "b": "t"}
    assert data.utterances[0].where.endswith("wav.scp:2")
    assert [p.what for p in data.warnings] == ["not sorted from 'a' on (Kaldi needs sorted lists, funrecipe does not)"]


def test_without_text(make_dir):
    data = read_data_dir(make_dir(wav_scp="a a.wav\n"))
    assert data.texts is None and not data.problems


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (b"\xef\xbb\xbfa /x/a.wav\n", "wav.scp:1: starts with a byte order mark"),
        (b"a /x/a.wav\r\n", "wav.scp:1: line end is CRLF"),
        (b"a\t/x/a.wav\n", None),
        (b"a \t /x/a.wav  \n", None),
        (b"\n\na /x/a.wav\n \t\n", "wav.scp:1: blank line (3 lines)"),
        (b"  a /x/a.wav", "wav.scp:1: spaces before the id"),
        (b"a /x/a.wav\na /x/a.wav\n", "wav.scp:2: duplicate id 'a', first in line 1"),
    ],
)
def test_what_is_put_right_with_a_warning(make_dir, content, warning):
    folder = make_dir(wav_scp=content, text="a x\n")
    data = read_data_dir(folder)
    assert [(u.utt_id, u.audio) for u in data.utterances] == [("a", "/x/a.wav")]
    assert [str(p) for p in data.warnings] == ([] if warning is None else [f"{folder}/{warning}"])


@pytest.mark.parametrize(
    ("lists", "error"),
    [
        ({"wav_scp": "a x\na y\n"}, "wav.scp:2: duplicate id 'a', first in line 1 with another value"),
        ({"wav_scp": "a x\n../a x\n"}, "wav.scp:2: id '../a' holds '/' or '..'"),
        ({"wav_scp": "a x\nb/c x\n"}, "wav.scp:2: id 'b/c' holds '/' or '..'"),
        ({"wav_scp": "a x\nb\x1b x\n"}, "wav.scp:2: id 'b\\x1b' holds a control or invisible character"),
        ({"wav_scp": "a x\nb\u3000c x\n"}, "wav.scp:2: id 'b\\u3000c' holds a control or invisible character"),
        ({"wav_scp": b"a x\nb \xff\xfe.wav\n"}, "wav.scp:2: not UTF-8 (byte 3 of the line)"),
        ({"wav_scp": "a x\nb\n"}, "wav.scp:2: no path after the id 'b'"),
        ({"wav_scp": "a x\nb y\0z\n"}, "wav.scp:2: control character in the line of 'b'"),
        ({"wav_scp": "a x\n", "text": b"a \xe4\xbd\n"}, "text:1: not UTF-8 (byte 3 of the line)"),
        ({"wav_scp": "a x\n", "text": "a x\na y\n"}, "text:2: duplicate id 'a', first in line 1 with another value"),
        ({"wav_scp": "r x\n", "segments": "a q 0 1\n"}, "segments:1: recording 'q' of 'a' is not in wav.scp"),
        ({"wav_scp": "r x\n", "segments": "a r 0\n"}, "segments:1: expected 'ID RECORDING START END', found 3 fields"),
        ({"wav_scp": "r x\n", "segments": "a r 2 1\n"}, "segments:1: 'a' has invalid times: '2' to '1' seconds"),
        ({"wav_scp": "r x\n", "segments": "a r 0 nan\n"}, "segments:1: 'a' has invalid times: '0' to 'nan' seconds"),
        ({"wav_scp": "a x\n", "utt2spk": "a s t\n"}, "utt2spk:1: expected two fields, found 3"),
        ({"wav_scp": "\n"}, "wav.scp: no usable utterance"),
    ],
)
def test_what_is_refused_with_file_and_line(make_dir, lists, error):
    folder = make_dir(**lists)
    with pytest.raises(DataError) as caught:
        read_data_dir(folder)
    assert f"{folder}/{error}" in str(caught.value)


def test_ids_that_one_list_lacks_are_warnings(make_dir):
    data = read_data_dir(make_dir(wav_scp="a x\nb x\nc x\n", text="a x\nd x\ne\n"))
    assert [(p.where.rsplit("/")[-1], p.what) for p in data.warnings] == [
        ("text:3", "empty text: 'e'"),
        ("text:2", "text without an entry in wav.scp: 'd' and 1 more ids"),
        ("wav.scp", "no text, decoded but not scored: 'b' and 1 more ids"),
    ]


def test_ten_errors_are_listed_and_the_rest_counted(make_dir):
    folder = make_dir(wav_scp="".join(f"u{i}\n" for i in range(25)))
    with pytest.raises(DataError) as caught:
        read_data_dir(folder)
    message = str(caught.value)
    assert message.startswith("26 errors") and message.count("no path after") == 10 and "and 16 more" in message


def test_pipes_need_permission(make_dir):
    folder = make_dir(wav_scp="a sox x.wav -t wav - |\nb /x\n")
    with pytest.raises(UnsafeFileError, match="'a' would run a command: sox"):
        read_data_dir(folder)
    allowed = read_data_dir(folder, allow_pipes=True)
    assert allowed.utterances[0].audio == "sox x.wav -t wav - |"


def test_segments_cut_recordings(make_dir):
    data = read_data_dir(make_dir(wav_scp="r /x/r.wav\ns /x/s.wav\n", segments="u2 r 1.5 -1\nu1 r 0 1.5\n"))
    assert [(u.utt_id, u.audio, u.start_s, u.end_s) for u in data.utterances] == [
        ("u1", "/x/r.wav", 0.0, 1.5),
        ("u2", "/x/r.wav", 1.5, None),
    ]
    assert [p.what for p in data.warnings] == ["recording without a segment: 's'"]


def test_relative_paths_are_the_working_directorys_else_the_lists(make_dir, tmp_path, monkeypatch):
    folder = make_dir(wav_scp="a wav/a.wav\nb wav/b.wav\nc wav/c.wav\nd wav/d.ark:17\n")
    for path in (folder / "wav/a.wav", folder / "wav/b.wav", folder / "wav/d.ark", tmp_path / "cwd/wav/a.wav"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path / "cwd")
    audio = {u.utt_id: u.audio for u in read_data_dir(folder).utterances}
    assert audio == {
        "a": str(tmp_path / "cwd/wav/a.wav"),
        "b": str(folder / "wav/b.wav"),
        "c": "wav/c.wav",
        "d": str(folder / "wav/d.ark") + ":17",
    }


def test_durations_come_from_headers(make_dir, tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros(8000), 16000)
    (tmp_path / "b.pcm").write_bytes(bytes(4000))
    (tmp_path / "broken.wav").write_bytes(b"no")
    folder = make_dir(
        wav_scp=f"a {tmp_path}/a.flac\nb {tmp_path}/b.pcm\nc {tmp_path}/broken.wav\nd none\n",
        utt2dur="a 0.5\nz 3\n",
    )
    data = read_data_dir(folder)
    assert data.durations_s == {"a": 0.5}
    assert [duration_s(u, audio_fs=8000) for u in data.utterances] == [0.5, 0.25, None, None]


def test_validate_command_exits(make_dir, capsys):
    assert main(["validate", "--data_dir", str(make_dir(wav_scp="a /x\r\n", text="a x\n"))]) == 0
    assert "1 warning\n" in capsys.readouterr().out
    assert main(["validate", "--data_dir", str(make_dir(wav_scp="a\n"))]) == 3
    assert "wav.scp:1" in capsys.readouterr().err
    assert main(["validate", "--data_dir", str(make_dir(wav_scp="a rm x |\n"))]) == 6
    assert main(["validate", "--data_dir", "/no/such/folder"]) == 3


def test_fix_writes_a_directory_without_problems(make_dir, tmp_path):
    folder = make_dir(
        wav_scp=b"\xef\xbb\xbfc /x/c.wav\r\nb\t/x/b 1.wav\n\nb\t/x/b 1.wav\na/x /x\nd 1\nd 2\nnotext /x\n",
        text="d x\nb 你好\nc \ngone x\n",
        utt2spk="b s\nc s\nd s\n",
        utt2dur="b 1.25\n",
    )
    out = tmp_path / "fixed"
    assert main(["validate", "--data_dir", str(folder), "--fix", str(out)]) == 0
    assert (out / "wav.scp").read_bytes() == b"b /x/b 1.wav\nc /x/c.wav\n"
    assert (out / "text").read_text() == "b 你好\nc \n"
    assert (out / "utt2spk").read_text() == "b s\nc s\n" and (out / "utt2dur").read_text() == "b 1.25\n"
    assert "wav.scp:5: id 'a/x'" in (out / "problems.txt").read_text()
    again = check_data_dir(out)
    assert not again.errors and [p.what for p in again.warnings] == ["empty text: 'c'"]
    assert main(["validate", "--data_dir", str(folder), "--fix", str(folder)]) == 2


def test_fix_replaces_its_own_lists_and_nobody_elses(make_dir, tmp_path):
    folder, out = make_dir(wav_scp="a /x\n", text="a x\n"), tmp_path / "out"
    assert main(["validate", "--data_dir", str(folder), "--fix", str(out)]) == 0
    (folder / "text").unlink()
    assert main(["validate", "--data_dir", str(folder), "--fix", str(out)]) == 0
    assert not (out / "text").exists()
    (out / "problems.txt").unlink()
    assert main(["validate", "--data_dir", str(folder), "--fix", str(out)]) == 2


def test_fix_keeps_segments(make_dir, tmp_path):
    folder = make_dir(wav_scp="r /x/r.wav\nq /x/q.wav\n", segments="u2 r 1.5 -1\nu1 r 0.1 1.5\n")
    assert main(["validate", "--data_dir", str(folder), "--fix", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/wav.scp").read_text() == "r /x/r.wav\n"
    assert read_data_dir(tmp_path / "out").utterances[1].start_s == 1.5


def test_validate_starts_without_torch_or_audio_libraries(make_dir):
    folder = make_dir(wav_scp="a /x\n")
    program = (
        "import sys; from funrecipe.cli import main; code = main(sys.argv[1:]);"
        "assert not {'torch', 'soundfile', 'soxr', 'numpy'} & set(sys.modules); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, "validate", "--data_dir", str(folder)]
    assert subprocess.run(command, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}).returncode == 0


@pytest.mark.parametrize("name", ["text", "segments", "utt2spk", "utt2dur"])
def test_a_link_that_leads_nowhere_is_no_missing_list(make_dir, name):
    folder = make_dir(wav_scp="a /x/a.wav\n")
    (folder / name).symlink_to(folder / "gone")
    with pytest.raises(DataError, match="cannot read the list") as raised:
        check_data_dir(folder)
    assert str(raised.value.where).endswith(name)
