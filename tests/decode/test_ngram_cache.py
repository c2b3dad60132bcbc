"""An n-gram file is parsed once; what is kept of it gives the same scores, and is made anew where it does not fit."""

import pytest
import torch

from funrecipe.decode import ngram
from funrecipe.decode.ngram import load_arpa, read_arpa
from funrecipe.errors import DataError

TOKENS = ["<blank>", "<s>", "</s>", "a", "b", "c", "<unk>"]
ARPA = """\\data\\
\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.7\t</s>
-0.6\ta\t-0.3
-0.9\tb\t-0.2
\\2-grams:
-0.4\t<s> a\t-0.1
-0.5\ta b
\\3-grams:
-0.25\tc a b
\\end\\
"""


@pytest.fixture
def arpa(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNRECIPE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "ngram.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


def rows_of(model):
    contexts = [(), (1,), (3,), (5, 3), (1, 3), (3, 4)]
    return torch.stack([model.row(context) for context in contexts])


def kept(tmp_path):
    return sorted((tmp_path / "cache").rglob("*.npz"))


def test_the_second_time_nothing_is_parsed_and_scores_are_the_same(arpa, tmp_path, monkeypatch):
    wanted = rows_of(read_arpa(arpa, TOKENS))
    assert torch.equal(rows_of(load_arpa(arpa, TOKENS)), wanted)
    assert len(kept(tmp_path)) == 1
    monkeypatch.setattr(ngram, "read_arpa", None)
    assert torch.equal(rows_of(load_arpa(arpa, TOKENS)), wanted)


def test_another_file_or_another_vocabulary_is_parsed_for_itself(arpa, tmp_path):
    load_arpa(arpa, TOKENS)
    arpa.write_text(ARPA.replace("-0.25", "-0.75"), encoding="utf-8")
    assert torch.equal(rows_of(load_arpa(arpa, TOKENS)), rows_of(read_arpa(arpa, TOKENS)))
    fewer = [*TOKENS[:5], "<unk>"]
    assert torch.equal(load_arpa(arpa, fewer).row((3,)), read_arpa(arpa, fewer).row((3,)))
    assert len(kept(tmp_path)) == 3


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_damaged_cache_is_made_anew(arpa, tmp_path, damage):
    wanted = rows_of(load_arpa(arpa, TOKENS))
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    middle = whole.index(b"NUMPY") + 129  # in the number after a header of 128 bytes
    damaged = {
        "cut": whole[: len(whole) // 2],
        "flip": whole[:middle] + bytes([whole[middle] ^ 64]) + whole[middle + 1 :],
        "empty": b"",
        "other": b"\x80\x04N.",
    }[damage]
    assert damaged != whole
    path.write_bytes(damaged)
    assert torch.equal(rows_of(load_arpa(arpa, TOKENS)), wanted)
    assert path.read_bytes() == whole


def test_where_nothing_can_be_kept_the_file_is_parsed(arpa, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FUNRECIPE_CACHE", str(tmp_path / "file" / "cache"))
    assert torch.equal(rows_of(load_arpa(arpa, TOKENS)), rows_of(read_arpa(arpa, TOKENS)))


def test_a_file_that_is_not_there_or_not_arpa_is_named(arpa, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_arpa(tmp_path / "none.arpa", TOKENS)
    arpa.write_text("hello\n", encoding="utf-8")
    with pytest.raises(DataError, match="not an ARPA file"):
        load_arpa(arpa, TOKENS)
    assert kept(tmp_path) == []


def test_scores_after_many_contexts_do_not_fill_the_memory(arpa, monkeypatch):
    model = read_arpa(arpa, TOKENS)
    monkeypatch.setattr(ngram, "ROWS_BYTES", 4 * len(TOKENS) * 4)
    wanted = read_arpa(arpa, TOKENS)
    for context in [(3, 4), (4, 5), (5, 3), (3, 3), (4, 4), (3, 4)]:
        assert torch.equal(model.row(context), wanted.row(context))
        assert len(model.rows) + len(model.earlier_rows) <= 4
