"""Whatever bytes a list holds: no crash, and every line that is not blank is an utterance or a numbered problem."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.data import list_file
from funrecipe.data.kaldi_dir import check_data_dir

IDS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=8)
LINE = st.one_of(st.binary(max_size=20), IDS.map(lambda key: f"{key} /x.wav".encode()), st.just(b""))


def check(**lists):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in lists.items():
            (Path(folder) / name.replace("_", ".")).write_bytes(content)
        return check_data_dir(folder)


@settings(max_examples=150, deadline=None)
@given(st.lists(LINE, max_size=12))
def test_every_line_is_accounted_for(lines):
    content = b"\n".join(lines)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return  # UTF-16, refused as a whole
    data = check(wav_scp=content)
    accounted = {int(u.where.rsplit(":", 1)[1]) for u in data.utterances}
    accounted |= {int(n) for p in data.problems if (n := p.where.rpartition(":")[2]).isdecimal()}
    body = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    contradicted = {p.what.split("'")[1] for p in data.errors if "with another value" in p.what}
    for number, line in enumerate(body, 1):
        key = line.strip(b" \t\r").split(b" ")[0].split(b"\t")[0].decode("utf-8", "replace")
        assert number in accounted or not line.strip(b" \t\r") or key in contradicted, (number, line)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(IDS.filter(lambda key: "/" not in key and ".." not in key), IDS, min_size=1), st.randoms())
def test_clean_lists_come_back_whole_in_any_order(texts, random):
    keys = list(texts)
    random.shuffle(keys)
    shuffled = "".join(f"{key}\t/a b/{key}.wav\n" for key in keys).encode()
    data = check(wav_scp=shuffled, text="".join(f"{key} {value}\n" for key, value in texts.items()).encode())
    assert not data.errors and data.texts == texts
    assert [u.utt_id.encode() for u in data.utterances] == sorted(key.encode() for key in texts)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(LINE, st.text(" \t\r/.|ab\x00\x7f\u200b\u3000好", max_size=9).map(str.encode)), max_size=9))
def test_plain_lines_are_read_as_all_others_are(lines):
    content = b"\n".join(lines)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return

    def read():
        data = check(wav_scp=content)
        return data.utterances, [problem.what for problem in data.problems]

    def without_folder(result):
        return [(u.utt_id, u.audio, u.line_number) for u in result[0]], result[1]

    with mock.patch.object(list_file, "_plain_lines", return_value=None):
        line_by_line = without_folder(read())
    for size in (1, 2, list_file.BLOCK_LINES):
        with mock.patch.object(list_file, "BLOCK_LINES", size):
            assert without_folder(read()) == line_by_line
