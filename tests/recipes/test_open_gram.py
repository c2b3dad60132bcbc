"""egs/tiny_zh: word n-grams of a model file written here become character n-grams."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from funrecipe.decode.ngram import read_arpa
from funrecipe.errors import DataError

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "egs" / "tiny_zh" / "local"
WORDS = ["", "北京", "人", "，", "大"]
TOKENS = ["<blank>", "<s>", "</s>", "北", "京", "人", "大", "<unk>"]
# word ids -> probability of the last word after the others
NGRAMS = [
    {(1,): 0.4, (2,): 0.3, (3,): 0.2, (4,): 0.1},
    {(1, 2): 0.5, (1, 4): 0.25, (2, 3): 0.8, (3, 1): 0.5},
    {(1, 2, 3): 0.9, (3, 1, 2): 0.4},
]


def t3g(ngrams):
    """A model file in SunPinyin's layout: every probability in a table, nodes of 3 and leaves of 2 words of 32 bits."""
    table = sorted({p for level in ngrams for p in level.values()})
    words = [3, 0, 2, *(len(level) + 1 for level in ngrams)]
    levels = [[()], *(sorted(level) for level in ngrams)]
    nodes = []
    for order, level in enumerate(levels):
        for gram in [*level, None]:
            pr = table.index(ngrams[order - 1][gram]) if gram else 0
            wid = gram[-1] if gram else 0
            if order == 3:
                nodes += [wid | (pr & 0x3FFF) << 18, (pr >> 14) << 25]
            else:
                below = levels[order + 1]
                child = len(below) if gram is None else sum(g[:-1] < gram for g in below)
                nodes += [wid, pr | (child & 0xFFFF) << 16, (child >> 16) << 25]
    tables = np.zeros((1 << 16) + (1 << 14), "<f4")
    tables[: len(table)] = table
    return np.array(words, "<u4").tobytes() + tables.tobytes() + np.array(nodes, "<u4").tobytes()


def dictionary(words):
    strings = "".join(word + "\0" for word in words).encode("utf-32-le")
    return np.array([len(words), 0, 12], "<u4").tobytes() + strings


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lm_sc.t3g").write_bytes(t3g(NGRAMS))
    (tmp_path / "pydict_sc.bin").write_bytes(dictionary(WORDS))
    (tmp_path / "tokens.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    (tmp_path / "text").write_text("u1 大人\nu2 北京大\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def local(monkeypatch):
    monkeypatch.syspath_prepend(str(LOCAL))
    return importlib.import_module


def test_the_trie_gives_the_ngrams_that_were_written(folder, local):
    for level, ngrams in zip(local("open_gram").read_ngrams(folder / "lm_sc.t3g"), NGRAMS):
        found = {tuple(words): p for words, p in zip(level.words.tolist(), level.probabilities)}
        assert found == pytest.approx(ngrams, rel=1e-6)


def test_counts_are_those_of_the_words(folder, local):
    """Worked out by hand from NGRAMS, for 1000 running words."""
    module = local("char_counts")
    vocabulary = module.Vocabulary(folder / "tokens.txt", 4)
    counts = module.Counts(vocabulary, 4)
    module.add_open_gram(counts, folder, 1000.0)
    ngrams, ends = counts.sums()

    def of(table, *tokens):
        number = 0
        for token in tokens:
            number = number * vocabulary.size + vocabulary.index[token]
        return dict(zip(*(column.tolist() for column in table[len(tokens)]))).get(number, 0.0)

    assert of(ngrams, "京") == pytest.approx(400)
    assert of(ngrams, "北", "京", "人") == pytest.approx(1000 * 0.4 * 0.5)
    assert of(ngrams, "北", "京", "人", "</s>") == pytest.approx(1000 * 0.4 * 0.5 * 0.9)
    assert of(ngrams, "<s>", "北", "京") == pytest.approx(1000 * 0.2 * 0.5)
    assert of(ngrams, "<s>", "北", "京", "人") == pytest.approx(1000 * 0.2 * 0.5 * 0.4)
    assert of(ngrams, "人", "</s>") == pytest.approx(1000 * 0.3 * 0.8)
    assert of(ngrams, "人", "北") == 0
    assert of(ends, "北", "京") == of(ends, "京") == pytest.approx(1000 * 0.4 * 0.25)
    assert of(ends, "京", "人") == pytest.approx(1000 * 0.4 * 0.5 * 0.1)


def make(folder, *options):
    return subprocess.run(
        [
            sys.executable,
            str(LOCAL / "char_ngram.py"),
            "--tokens",
            str(folder / "tokens.txt"),
            "--output",
            str(folder / "ngram.arpa.gz"),
            *options,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("count", ["1000", "8"])
def test_the_model_is_a_distribution_after_any_history(folder, count):
    options = ["--open_gram", str(folder), "--text", str(folder / "text"), "--text_share", "0.2", "--ngrams", count]
    made = make(folder, *options)
    assert made.returncode == 0, made.stderr
    model = read_arpa(folder / "ngram.arpa.gz", TOKENS)
    for history in [(), (1,), (3,), (4,), (3, 4), (1, 3, 4), (3, 4, 5), (6, 6, 6), (4, 5)]:
        row = model.row(history)[1:].double()
        assert float(torch.logsumexp(row, 0)) == pytest.approx(0, abs=0.05)  # two decimals are written
    assert float(model.row((3,))[4]) > np.log(0.8)  # the words, 0.8 of the mixture, are certain of 北京


def test_what_cannot_be_used_is_named(folder, local):
    read_ngrams, read_words = local("open_gram").read_ngrams, local("open_gram").read_words
    whole = (folder / "lm_sc.t3g").read_bytes()
    for content in (b"", whole[:-4], dictionary(WORDS)):
        (folder / "lm_sc.t3g").write_bytes(content)
        with pytest.raises(DataError, match=r"not a trigram model of SunPinyin[\s\S]*lm_sc.t3g"):
            read_ngrams(folder / "lm_sc.t3g")
    (folder / "lm_sc.t3g").write_bytes(whole)
    for content in (b"", whole, dictionary(WORDS)[:-8]):
        (folder / "pydict_sc.bin").write_bytes(content)
        with pytest.raises(DataError, match="not a dictionary"):
            read_words(folder / "pydict_sc.bin")
    (folder / "pydict_sc.bin").write_bytes(dictionary(WORDS[:-1]))
    made = make(folder, "--open_gram", str(folder))
    assert made.returncode == 3 and "dictionary lacks" in made.stderr and "Traceback" not in made.stderr
