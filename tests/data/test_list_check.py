"""Checking lists in one pass by id finds what reading them whole finds, in the same order and the same words."""

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
from funrecipe.data.list_check import ListCheck
from funrecipe.errors import FunrecipeError

KEY = st.sampled_from(["a", "b", "c", "d", "é", "好", "a b", "r", " a", "b\t", "../x", "\u3000a"])
VALUE = st.sampled_from(
    ["", "/x.wav", "x.wav", "cat x |", "|cat", "r 0 1", "a 1.5 -1", "b 2 1", "3.5", "-1", "1 2", "好\r", "nan", "\x01"]
)
LINE = st.builds("{} {}".format, KEY, VALUE).map(str.encode) | st.sampled_from(
    [b"", b" \t", b"\xef\xbb\xbf", b"\xef\xbb\xbfa /x", b"b \xff", b"c \xff\r", b"a", b"\xff\xfea"]
)
LIST = st.lists(LINE, max_size=7)
OTHERS = ("segments", "text", "utt2spk", "utt2dur")


def outcome(check, folder, allow_pipes):
    """The problems and how many utterances and texts there are, with what is raised for errors and missing texts."""
    try:
        found = check(folder, allow_pipes=allow_pipes)
    except FunrecipeError as error:
        return type(error), str(error)
    raised = []
    for refuse in (found.raise_for_errors, found.raise_for_missing_texts):
        try:
            refuse()
        except FunrecipeError as error:
            raised.append((type(error), str(error)))
    if isinstance(found, ListCheck):
        return found.problems, found.num_utterances, found.num_texts, raised
    num_texts = None if found.texts is None else len(found.texts)
    return list(found.problems), len(found.utterances), num_texts, raised


def agree(folder, *, allow_pipes=False):
    with mock.patch.object(in_order, "RUN_ROWS", 2):
        found = outcome(ListCheck, folder, allow_pipes)
    assert found == outcome(check_data_dir, folder, allow_pipes)
    return found


@settings(max_examples=400, deadline=None)
@given(LIST, st.fixed_dictionaries(dict.fromkeys(OTHERS, st.none() | LIST)), st.booleans(), st.booleans())
def test_one_pass_finds_what_reading_whole_finds(wav_scp, others, is_sorted, allow_pipes):
    with tempfile.TemporaryDirectory() as name:
        for list_name, lines in {"wav.scp": wav_scp, **others}.items():
            if lines is not None:
                content = b"\n".join(sorted(lines) if is_sorted else lines)
                (Path(name) / list_name).write_bytes(content)
        agree(name, allow_pipes=allow_pipes)


def test_long_lists_in_any_order(tmp_path):
    ids = [f"u{7 * n % 100:02}" for n in range(100)]
    (tmp_path / "wav.scp").write_text("".join(f"{i} /x/{i}.wav\r\n" for i in ids))
    (tmp_path / "text").write_text("".join(f"{i} x\n" for i in [*ids[10:], "z"]))
    (tmp_path / "utt2spk").write_text("".join(f"{i} s\n" for i in ids + ids[:3]))
    (tmp_path / "utt2dur").write_text("".join(f"{i} {n - 2}\n" for n, i in enumerate(ids)))
    problems, num_utterances, num_texts, raised = agree(tmp_path)
    assert (num_utterances, num_texts, len(raised)) == (100, 91, 2)
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
    assert agree(tmp_path)[1].startswith("cannot read the list")


@pytest.mark.parametrize("name", ["wav.scp", "utt2spk"])
def test_a_named_pipe_is_no_list_and_is_not_waited_for(tmp_path, name):
    (tmp_path / "wav.scp").write_text("a /x\n")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    assert agree(tmp_path)[1].startswith("the list is a named pipe")


def test_missing_texts_are_refused_unless_they_are_wanted(tmp_path, capsys):
    (tmp_path / "wav.scp").write_text("b /x\na /x\n")
    (tmp_path / "text").write_text("a x\n")
    assert main(["validate", "--data_dir", str(tmp_path)]) == 3
    assert "1 of 2 utterances have no text\n  " + str(tmp_path / "wav.scp:1: b") in capsys.readouterr().err
    assert main(["validate", "--data_dir", str(tmp_path), "--partial_text", "true"]) == 0
    assert "2 utterances, 1 text, no errors" in capsys.readouterr().out
