"""Lists are read in one pass by id, whatever order they have; problems are named in the order of the files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.cli import main
from funrecipe.data import in_order
from funrecipe.data.kaldi_dir import check_data_dir
from funrecipe.data.lists import Lists
from funrecipe.errors import FunrecipeError

KEY = st.sampled_from(["a", "b", "c", "d", "é", "好", "a b", "r", " a", "b\t", "../x", "\u3000a"])
VALUE = st.sampled_from(
    ["", "/x.wav", "x.wav", "cat x |", "|cat", "r 0 1", "a 1.5 -1", "b 2 1", "3.5", "-1", "1 2", "好\r", "nan", "\x01"]
)
LINE = st.builds("{} {}".format, KEY, VALUE).map(str.encode) | st.sampled_from(
    [b"", b" \t", b"\xef\xbb\xbf", b"\xef\xbb\xbfa /x", b"b \xff", b"c \xff\r", b"a", b"\xff\xfea"]
)
LIST = st.lists(LINE, max_size=7)
MARKS = (b"\xef\xbb\xbf", b"\xff\xfe")  # a list may begin with them
OTHERS = ("segments", "text", "utt2spk", "utt2dur")


def read(folder, *, allow_pipes=False, rows_in_memory=2):
    """Everything that was read but the line numbers, and the problems; or the error."""
    try:
        with mock.patch.object(in_order, "RUN_ROWS", rows_in_memory):
            data = check_data_dir(folder, allow_pipes=allow_pipes)
    except FunrecipeError as error:
        return type(error), str(error)
    utterances = [utterance._replace(line_number=0) for utterance in data.utterances]
    return (utterances, data.texts, data.speakers, data.durations_s), list(data.problems)


def write(folder, lists):
    for name, lines in lists.items():
        if lines is not None:
            (Path(folder) / name).write_bytes(b"\n".join(lines))


@settings(max_examples=400, deadline=None)
@given(LIST, st.fixed_dictionaries(dict.fromkeys(OTHERS, st.none() | LIST)), st.randoms(), st.booleans())
def test_the_order_of_lines_and_the_memory_for_sorting_do_not_matter(wav_scp, others, random, allow_pipes):
    lists = {"wav.scp": wav_scp, **others}
    with tempfile.TemporaryDirectory() as name:
        write(name, lists)
        found = read(name, allow_pipes=allow_pipes)
        assert read(name, allow_pipes=allow_pipes, rows_in_memory=100) == found
        if not any(line.startswith(MARKS) for lines in lists.values() for line in lines or ()):
            write(name, {name: lines and random.sample(lines, len(lines)) for name, lines in lists.items()})
            assert read(name, allow_pipes=allow_pipes)[0] == found[0]


def test_long_lists_in_any_order(tmp_path):
    ids = [f"u{7 * n % 100:02}" for n in range(100)]
    (tmp_path / "wav.scp").write_text("".join(f"{i} /x/{i}.wav\r\n" for i in ids))
    (tmp_path / "text").write_text("".join(f"{i} x\n" for i in [*ids[10:], "z"]))
    (tmp_path / "utt2spk").write_text("".join(f"{i} s\n" for i in ids + ids[:3]))
    (tmp_path / "utt2dur").write_text("".join(f"{i} {n - 2}\n" for n, i in enumerate(ids)))
    (utterances, texts, speakers, durations_s), problems = read(tmp_path)
    assert [utterance.utt_id for utterance in utterances] == sorted(ids)
    assert texts == dict.fromkeys([*ids[10:], "z"], "x") and speakers == dict.fromkeys(ids, "s")
    assert durations_s == {key: n - 2.0 for n, key in enumerate(ids) if n >= 2}
    assert [str(p).replace(f"{tmp_path}/", "") for p in problems] == [
        "wav.scp:1: line end is CRLF (100 lines)",
        "wav.scp:16: not sorted from 'u05' on (Kaldi needs sorted lists, funrecipe does not)",
        "text:91: text without an entry in wav.scp: 'z'",
        "wav.scp: no text, decoded but not scored: 'u00' and 9 more ids",
        "utt2spk:101: duplicate id 'u00', first in line 1",
        "utt2spk:102: duplicate id 'u07', first in line 2",
        "utt2spk:103: duplicate id 'u14', first in line 3",
        "utt2dur: '-2' is not a duration in seconds for 'u00'",
        "utt2dur: '-1' is not a duration in seconds for 'u07'",
    ]


@pytest.mark.parametrize("broken", [("wav.scp",), ("text", "utt2dur"), ("segments",), OTHERS])
def test_the_first_list_that_cannot_be_read_is_named(tmp_path, broken):
    for name in ("wav.scp", *OTHERS):
        (tmp_path / name).write_text("a /x\n")
    for name in broken:
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to("gone" if name != "wav.scp" else ".")
    assert read(tmp_path)[1].startswith("cannot read the list")


@pytest.mark.parametrize("name", ["wav.scp", "utt2spk"])
def test_a_named_pipe_is_no_list_and_is_not_waited_for(tmp_path, name):
    (tmp_path / "wav.scp").write_text("a /x\n")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    assert read(tmp_path)[1].startswith("the list is a named pipe")


def test_missing_texts_are_refused_unless_they_are_wanted(tmp_path, capsys):
    (tmp_path / "wav.scp").write_text("b /x\na /x\n")
    (tmp_path / "text").write_text("a x\n")
    assert main(["validate", "--data_dir", str(tmp_path)]) == 3
    assert "1 of 2 utterances have no text\n  " + str(tmp_path / "wav.scp:1: b") in capsys.readouterr().err
    assert main(["validate", "--data_dir", str(tmp_path), "--partial_text", "true"]) == 0
    assert "2 utterances, 1 text, no errors" in capsys.readouterr().out


def test_problems_can_be_asked_for_twice(tmp_path):
    (tmp_path / "wav.scp").write_text("b /b.wav\na /a.wav\na /a.wav\n")
    lists = Lists(tmp_path)
    assert [utterance.utt_id for utterance in lists] == ["a", "b"]
    first = lists.problems()
    assert ["not sorted from 'a' on" in str(first[0]), "duplicate id 'a'" in str(first[1])] == [True, True]
    assert lists.problems() == first and len(first) == 2
