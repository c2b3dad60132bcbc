"""Streaming a data directory gives what reading it whole gives, errors included, and lists may be in any order."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.data import in_order
from funrecipe.data.kaldi_dir import read_data_dir
from funrecipe.data.lists import UtteranceStream
from funrecipe.errors import FunrecipeError

KEY = st.sampled_from(["a", "b", "c", "d", "é", "好", "a b"])
TEXT = st.sampled_from(["", "/x.wav", "x.wav", "a.ark:12", "cat x |", "a 0 1", "b 1.5 -1", "c 2 1", "3.5", "-1", "1 2"])
LIST = st.lists(st.builds("{} {}".format, KEY, TEXT) | st.just("\ufeff") | st.just("c\t/x"), max_size=6)


def outcome(read, folder):
    try:
        return read(folder)
    except FunrecipeError as error:
        return type(error), str(error)


def whole(folder):
    data = read_data_dir(folder)
    return [(utterance, data.durations_s.get(utterance.utt_id)) for utterance in data.utterances]


def streamed(folder):
    return list(UtteranceStream(folder).with_durations())


@settings(max_examples=200, deadline=None)
@given(LIST, st.none() | LIST, st.none() | LIST, st.booleans())
def test_the_stream_is_the_whole(wav_scp, segments, utt2dur, is_sorted):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for list_name, lines in (("wav.scp", wav_scp), ("segments", segments), ("utt2dur", utt2dur)):
            if lines is not None:
                lines = sorted(lines, key=lambda line: line.split(None, 1)[0]) if is_sorted else lines
                (folder / list_name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        expected = outcome(whole, folder)
        with mock.patch.object(in_order, "RUN_ROWS", 2):
            found = outcome(streamed, folder)
        assert found == expected


@pytest.mark.parametrize("content", [b"a \xff\n", b"b /x\na /y\xff\n", b"\xff\xfea"])
def test_bytes_that_are_not_text_are_named(tmp_path, content):
    (tmp_path / "wav.scp").write_bytes(content)
    assert outcome(streamed, tmp_path) == outcome(whole, tmp_path)


@pytest.mark.parametrize("name", ["wav.scp", "segments", "utt2dur"])
def test_a_named_pipe_is_no_list_and_is_not_waited_for(tmp_path, name):
    (tmp_path / "wav.scp").write_text("a /x\n")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    assert outcome(streamed, tmp_path) == outcome(whole, tmp_path)


def test_a_folder_without_lists_is_refused(tmp_path):
    assert outcome(streamed, tmp_path) == outcome(whole, tmp_path)
    assert outcome(streamed, tmp_path / "none") == outcome(whole, tmp_path / "none")


def test_sorting_on_disk_keeps_lines_with_tabs_and_their_order():
    rows = [("b", 1, "x\ty"), ("a", 2, ""), ("b", 3, "x"), ("a", 10, "z"), ("a", 4, "é")]
    with mock.patch.object(in_order, "RUN_ROWS", 2):
        assert list(in_order.sort_rows(rows)) == sorted(rows)
