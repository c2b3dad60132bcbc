"""What scoring does for many utterances at once is what it does for each of them."""

import random
from collections import Counter

import numpy as np
import pytest

from funrecipe.errors import DataError
from funrecipe.score import breakdown, scoring
from funrecipe.score.align import align_tokens
from funrecipe.score.read import read_texts
from funrecipe.score.scoring import score_texts, tokenize_and_encode

CHARACTERS = "一二三四五六七八九十𠀀"
PIECES = [*CHARACTERS, *CHARACTERS, "hello", "a", "3", " ", " "]


@pytest.fixture(scope="module")
def scored():
    chooser = random.Random(11)

    def text():
        pieces = PIECES if chooser.random() < 0.4 else CHARACTERS
        return "".join(chooser.choices(pieces, k=chooser.randrange(9)))

    refs = {f"u{number:03d}": text() for number in range(300)}
    hyps = {key: value if chooser.random() < 0.3 else text() for key, value in refs.items()}
    return score_texts(refs, hyps)


def test_edits_counted_end_to_end_are_those_of_every_alignment(scored, monkeypatch):
    monkeypatch.setattr(breakdown, "CHUNK", 7)
    pairs, inserted, deleted = Counter(), Counter(), Counter()
    for ref, hyp, ops in zip(scored.refs, scored.hyps, scored.ops):
        for op, ref_token, hyp_token in align_tokens(ref, hyp, ops):
            if op == "S":
                pairs[ref_token, hyp_token] += 1
            elif op == "I":
                inserted[hyp_token] += 1
            elif op == "D":
                deleted[ref_token] += 1
    table = breakdown.confusions(scored)
    assert [(row["hyp"], row["count"]) for row in table["insertions"]] == by_count(inserted)
    assert [(row["ref"], row["count"]) for row in table["deletions"]] == by_count(deleted)
    assert [((row["ref"], row["hyp"]), row["count"]) for row in table["substitutions"]] == by_count(pairs)[:50]


def by_count(counter):
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


@pytest.mark.parametrize("unit", ["word", "char", "mixed"])
def test_another_unit_counted_in_chunks_is_that_unit(scored, unit, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", 11)
    _, _, encoded = tokenize_and_encode(scored.ref_texts, scored.hyp_texts, unit)
    assert scored.edits_in(unit) == scoring.sum_edits(scoring.count_edits(*encoded)) == scored.in_unit(unit).edits


def test_the_worst_are_the_first_of_all_in_order(scored):
    errors = scored.counts[:, 1:].sum(axis=1)
    order = sorted(range(len(errors)), key=lambda p: (-errors[p], len(scored.refs[p]), scored.ids[p]))
    wanted = [scored.ids[p] for p in order[:50] if errors[p]]
    assert [row["id"] for row in breakdown.worst_utterances(scored)] == wanted
    few = score_texts({"a": "一二", "b": "一"}, {"a": "一二", "b": "三"})
    assert [row["id"] for row in breakdown.worst_utterances(few)] == ["b"]


def test_durations_fall_into_their_buckets(scored):
    durations = {key: float(number % 40) for number, key in enumerate(scored.ids) if number % 7}
    table = breakdown.by_duration(scored, durations)
    assert sum(row["utterances"] for row in table) == len(scored.ids)
    assert table[0]["bucket"] == "unknown" and table[0]["utterances"] == len(scored.ids) - len(durations)
    two_to_five = [position for position, key in enumerate(scored.ids) if 2 <= durations.get(key, np.nan) < 5]
    row = next(row for row in table if row["bucket"] == "2-5 s")
    assert row["errors"] == int(scored.counts[two_to_five, 1:].sum())


def test_ids_of_another_list_and_labels_are_shared(tmp_path):
    path = tmp_path / "utt2spk"
    path.write_text("\n".join(f"{key} speaker" for key in ["u1", "u3", "u2", "u4", "u6"]) + "\n")
    like = ["".join(["u", str(number)]) for number in range(1, 6)]
    read = read_texts(path, like=like, is_label=True)
    assert read == {key: "speaker" for key in ["u1", "u3", "u2", "u4", "u6"]}
    assert len({id(label) for label in read.values()}) == 1
    assert [any(key is other for other in like) for key in read] == [True, True, False, True, False]


def test_the_line_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("a 一\nb 二\n".encode() + b"c \xb0\xa1\n")
    with pytest.raises(DataError, match="not UTF-8: byte 0xb0") as caught:
        read_texts(path)
    assert caught.value.where == f"{path}:3"
