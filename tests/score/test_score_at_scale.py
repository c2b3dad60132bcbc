"""What scoring does for many utterances at once is what it does for each of them."""

import json
import random
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from funrecipe.data import in_order, list_file
from funrecipe.data.texts import read_texts, text_blocks
from funrecipe.errors import DataError, IncompleteRunError
from funrecipe.score import breakdown, pair_counts, scoring, stage2, stage3
from funrecipe.score.align import align_tokens
from funrecipe.score.options import ScoreOptions
from funrecipe.score.scoring import score_texts, tokenize_and_encode
from funrecipe.score.side_information import SideInformation, SideStream
from funrecipe.score.summary import analysis_json, summary_json
from funrecipe.text.normalize import get_profile

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
    table = added(breakdown.Confusions(), scored)
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
    assert [row["id"] for row in added(breakdown.Worst(), scored)] == wanted
    few = score_texts({"a": "一二", "b": "一"}, {"a": "一二", "b": "三"})
    assert [row["id"] for row in added(breakdown.Worst(), few)] == ["b"]


def test_durations_fall_into_their_buckets(scored):
    durations = {key: float(number % 40) for number, key in enumerate(scored.ids) if number % 7}
    table = analysis_json(scored, SideInformation(durations_s=durations))["durations"]
    assert sum(row["utterances"] for row in table) == len(scored.ids)
    assert table[0]["bucket"] == "unknown" and table[0]["utterances"] == len(scored.ids) - len(durations)
    two_to_five = [position for position, key in enumerate(scored.ids) if 2 <= durations.get(key, np.nan) < 5]
    row = next(row for row in table if row["bucket"] == "2-5 s")
    assert row["errors"] == int(scored.counts[two_to_five, 1:].sum())


@pytest.mark.parametrize("missing_policy", ["strict", "present"])
@pytest.mark.parametrize("is_sorted", [True, False])
def test_scoring_part_by_part_is_scoring_the_whole(tmp_path, monkeypatch, missing_policy, is_sorted):
    """Numbers, files and analysis, with ids on one side only, in long runs and at both ends."""
    draw = random.Random(3)
    refs = {f"b{n:03d}": "".join(draw.choices(PIECES, k=draw.randrange(9))) for n in range(90) if not 30 < n < 50}
    hyps = {f"b{n:03d}": "".join(draw.choices(PIECES, k=draw.randrange(9))) for n in range(99) if not 60 < n < 80}
    hyps |= {f"{end}{n:02d}": "x" for end in "az" for n in range(20)}
    speakers = {key: key[:3] for key in refs if not key.endswith("3")}
    durations = {key: float(key[-2:]) for key in list(refs)[:40]}
    sides = {"ref": refs, "hyp": hyps, "utt2spk": speakers, "utt2dur": durations}
    for name, values in sides.items():
        lines = [f"{key} {value}\n" for key, value in values.items()]
        (tmp_path / name).write_text("".join(sorted(lines) if is_sorted else draw.sample(lines, len(lines))))
    said, files = [], {"ref": str(tmp_path / "ref"), "hyp": str(tmp_path / "hyp")}
    for chunk in (10_000, 7):
        monkeypatch.setattr(in_order, "CHUNK", chunk)
        monkeypatch.setattr(list_file, "BLOCK_LINES", chunk)
        monkeypatch.setattr(in_order, "RUN_ROWS", chunk)
        monkeypatch.setattr(pair_counts, "LEAST_MERGED", chunk)
        out = tmp_path / str(chunk)
        written = {"out": str(out / "text.cer"), "jsonl": str(out / "lines"), "trn_dir": str(out)}
        options = ScoreOptions(**files, missing=missing_policy, **written)
        lines = stage2.score_strict(options, side=SideStream(tmp_path, hotwords=["hello"]))
        said.append([*lines, *(path.read_text() for path in sorted(out.iterdir()))])
    assert len(said[0]) == len(said[1]) and said[0] == said[1]
    whole = score_texts(*({k: " ".join(v.split()) for k, v in texts.items()} for texts in (refs, hyps)),
                        missing_policy=missing_policy)  # fmt: skip
    side = SideInformation(speakers, durations_s=durations, hotwords=["hello"])
    written = json.loads((tmp_path / "7/text.cer.json").read_text())
    assert written == json.loads(json.dumps({**summary_json(whole, {}), "analysis": analysis_json(whole, side)}))
    (tmp_path / "ref").write_text("b1 x\nb2 y\nb1 z\n")
    with pytest.raises(DataError, match="ref:3: duplicate id 'b1', first in line 1"):
        list(stage2.score_strict(ScoreOptions(**files), side=SideStream(None)))


def test_pairs_are_counted_however_often_they_are_merged(monkeypatch):
    draw = np.random.default_rng(0)
    parts = [draw.integers(65, 75, size=(n % 9, 2)) for n in range(200)]
    expected = Counter((chr(one), chr(other)) for part in parts for one, other in part.tolist())
    for least in (0, 10, 10_000):
        monkeypatch.setattr(pair_counts, "LEAST_MERGED", least)
        counts = pair_counts.PairCounts()
        for part in parts:
            counts.add(part[:, 0] << 32 | part[:, 1])
        assert dict(counts.most_frequent(10_000)) == expected
        fewest = sorted(expected.values())[-5]
        assert dict(counts.most_frequent(5)) == {pair: n for pair, n in expected.items() if n >= fewest}
    assert pair_counts.PairCounts().most_frequent(3) == []


def added(table, scored):
    table.add(scored)
    return table.as_json()


@pytest.mark.parametrize("profile", ["speechio", "funasr2023"])
@pytest.mark.parametrize("is_sorted", [True, False])
def test_stage_3_part_by_part_is_stage_3_of_the_whole(tmp_path, monkeypatch, profile, is_sorted):
    """All files and lines; the references are listed in the order of their file."""
    draw = random.Random(5)
    pieces = [*CHARACTERS, "啊", "3", "，", "ab", " ", "ｱ"]
    for name, first in (("ref", 0), ("hyp", 30)):
        keys = [f"b{n:03d}" for n in range(first, first + 90) if draw.random() < 0.9]
        keys = keys if is_sorted else draw.sample(keys, len(keys))
        lines = [f"{key} {''.join(draw.choices(pieces, k=draw.randrange(6)))}\n" for key in keys]
        (tmp_path / name).write_text("".join(lines))
    said = []
    for chunk in (10_000, 7):
        monkeypatch.setattr(in_order, "CHUNK", chunk)
        monkeypatch.setattr(list_file, "BLOCK_LINES", chunk)
        monkeypatch.setattr(in_order, "RUN_ROWS", chunk)
        out = tmp_path / str(chunk)
        options = ScoreOptions(
            ref=str(tmp_path / "ref"), hyp=str(tmp_path / "hyp"), protocol="speechio", profile=profile, out_dir=str(out)
        )
        said.append([*stage3.score_speechio(options), *(path.read_text() for path in sorted(out.iterdir()))])
    assert said[0] == said[1] and "hypotheses without a reference" in "\n".join(said[0])
    normalize = get_profile(profile).normalize
    rows = [(*line.split(None, 1), "")[:2] for line in (tmp_path / "ref").read_text().splitlines()]
    texts = [(key, normalize(text.rstrip()) if text else "") for key, text in rows]
    wanted = [f"{key}\t{text}\n" for key, text in texts if text or profile == "funasr2023"]
    assert (out / "ref.txt").read_text() == "".join(wanted)


def test_the_line_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("a 一\nb 二\n".encode() + b"c \xb0\xa1\n")
    with pytest.raises(DataError, match="text:3: not UTF-8"):
        read_texts(path)


def test_a_list_that_is_named_but_missing_is_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match="cannot read the list"):
        SideStream(None, utt2spk=str(tmp_path / "utt2spk"))


def test_missing_hypotheses_are_reported_before_errors_of_a_side_list(tmp_path):
    (tmp_path / "ref").write_text("a 1\nb 2\n")
    (tmp_path / "hyp").write_text("a 1\n")
    (tmp_path / "utt2spk").write_text("a s\nb s\nc s\nc t\n")
    (tmp_path / "utt2dur").write_text("a 1\nb 1\nc x\n")
    options = ScoreOptions(ref=str(tmp_path / "ref"), hyp=str(tmp_path / "hyp"), missing="error")
    with pytest.raises(IncompleteRunError):
        list(stage2.score_strict(options, side=SideStream(tmp_path)))
    with pytest.raises(DataError, match="utt2spk:4: duplicate id 'c'"):
        list(stage2.score_strict(replace(options, missing="strict"), side=SideStream(tmp_path)))


def test_errors_of_a_list_are_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"a 1\nb \xff\nc 1\nc 2\nd \x01\ne 1\ne 2\nf \xff\n")
    with pytest.raises(DataError) as error:
        list(text_blocks(path))
    assert re.findall(r":(\d):", error.value.what) == ["2", "4", "5", "7", "8"]
