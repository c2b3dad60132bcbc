"""Alignment against kaldialign (same tie rule) and rapidfuzz (totals), on alphabets small enough to force ties."""

import random

import kaldialign
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from funrecipe.score import align
from funrecipe.score.align import TokenEncoder, count_edits, edit_ops, total_errors

texts = st.text(alphabet="甲乙丙a", max_size=24)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=40)


def random_pairs(number, alphabet, max_length, seed):
    draw = random.Random(seed)

    def text():
        return "".join(draw.choices(alphabet, k=draw.randint(0, max_length)))

    return [text() for _ in range(number)], [text() for _ in range(number)]


def kaldi_split(ref, hyp):
    counts = kaldialign.edit_distance(list(ref), list(hyp))
    return [counts["sub"], counts["ins"], counts["del"]]


def kaldi_path(ref, hyp):
    columns = kaldialign.align(list(ref), list(hyp), "*")
    return "".join("I" if r == "*" else "D" if h == "*" else "C" if r == h else "S" for r, h in columns).encode()


@pytest.mark.parametrize("alphabet", ["ab", "abc", "abcdef", "甲乙丙丁戊己庚辛壬癸子丑寅卯"])
def test_splits_equal_kaldialign(alphabet):
    refs, hyps = random_pairs(3000, alphabet, max_length=14, seed=7)
    ours = count_edits(refs, hyps)
    assert ours[:, 1:].tolist() == [kaldi_split(ref, hyp) for ref, hyp in zip(refs, hyps)]


def test_paths_equal_kaldialign_in_both_engines():
    refs, hyps = random_pairs(1000, "abc", max_length=12, seed=8)
    expected = [kaldi_path(ref, hyp) for ref, hyp in zip(refs, hyps)]
    assert edit_ops(refs, hyps) == expected
    assert [align._align_long(ref, hyp) for ref, hyp in zip(refs, hyps)] == expected


def test_long_pairs_equal_kaldialign():
    refs, hyps = random_pairs(12, "abcdefgh", max_length=700, seed=9)
    assert count_edits(refs, hyps)[:, 1:].tolist() == [kaldi_split(ref, hyp) for ref, hyp in zip(refs, hyps)]


@given(pairs)
@settings(max_examples=100, deadline=None)
def test_totals_sums_and_ops_agree(many):
    refs, hyps = [r for r, _ in many], [h for _, h in many]
    counts = count_edits(refs, hyps)
    expected = [Levenshtein.distance(r, h) for r, h in many]
    assert total_errors(refs, hyps).tolist() == expected
    assert counts[:, 1:].sum(axis=1).tolist() == expected
    assert (counts[:, 0] + counts[:, 1] + counts[:, 3]).tolist() == [len(r) for r in refs]
    assert (counts[:, 0] + counts[:, 1] + counts[:, 2]).tolist() == [len(h) for h in hyps]
    letters = [[ops.count(letter) for letter in (b"C", b"S", b"I", b"D")] for ops in edit_ops(refs, hyps)]
    assert letters == counts.tolist()


@given(pairs, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_order_of_pairs_does_not_matter(many, draw):
    order = list(range(len(many)))
    draw.shuffle(order)
    plain = count_edits([r for r, _ in many], [h for _, h in many])
    shuffled = count_edits([many[i][0] for i in order], [many[i][1] for i in order])
    assert np.array_equal(plain[order], shuffled)


def test_a_million_tokens_against_a_few():
    [ops] = edit_ops(["天" + "好" * 10**6 + "气"], ["今天气"])
    assert (ops.count(b"C"), ops.count(b"I"), ops.count(b"D"), ops.count(b"S")) == (2, 1, 10**6, 0)


def test_a_pair_of_20000_tokens_needs_little_memory(monkeypatch):
    draw = random.Random(3)
    ref = "".join(chr(0x4E00 + draw.randrange(3000)) for _ in range(20_000))
    hyp = "".join(t for t in ref if draw.random() > 0.1) + "好" * 50
    kept = []
    columns = align._columns
    monkeypatch.setattr(align, "_columns", lambda *a: kept.append(len(a[3])) or columns(*a))
    counts = count_edits([ref], [hyp])[0]
    assert counts[1:].sum() == Levenshtein.distance(ref, hyp)
    assert max(kept) <= 142  # never more columns at once than the root of the length


def test_words_get_codes_that_no_character_shares():
    encoder = TokenEncoder()
    ref, hyp = encoder.encode_pair(["hello", "世", "\U00040000"], ["hello", "\U00040000", "world"])
    assert len(ref) == len(hyp) == 3
    assert ref[0] == hyp[0] and ref[2] == hyp[1] and ref[1] == "世"
    assert len({*ref, *hyp}) == 4


def test_encoder_starts_again_before_it_runs_out_of_codes(monkeypatch):
    monkeypatch.setattr(align, "FIRST_WORD_CODE", 0x10FFFF - 10)
    encoder = TokenEncoder()
    for start in range(0, 100, 4):
        ref, hyp = encoder.encode_pair([f"w{start}", "same"], ["same", f"v{start}"])
        assert ref[1] == hyp[0] and len({*ref, *hyp}) == 3
