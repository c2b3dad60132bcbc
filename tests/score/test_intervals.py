"""Intervals against kaldialign, MAPSSWE against NIST's sc_stats (golden numbers, and live where sctk is installed)."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import kaldialign
import numpy as np
import pytest

from funrecipe.score.align import KALDI, SCLITE, count_edits, edit_ops
from funrecipe.score.intervals import bootstrap_interval, error_segments, mapsswe, paired_bootstrap
from funrecipe.score.scoring import score_texts

SCTK = Path(__file__).resolve().parents[1] / "data/sctk"
SCTK_BIN = "/usr/lib/sctk/bin"


def noisy_copy(text, share, draw):
    return "".join(token if draw.random() > share else draw.choice(["", "错", token + "多"]) for token in text)


@pytest.fixture(scope="module")
def systems():
    draw = random.Random(11)
    refs = ["".join(draw.choices("一二三四五六七八九十", k=draw.randint(1, 40))) for _ in range(400)]
    return refs, [noisy_copy(r, 0.12, draw) for r in refs], [noisy_copy(r, 0.11, draw) for r in refs]


def test_interval_equals_kaldialign_within_monte_carlo_error(systems):
    refs, first, second = systems
    theirs = kaldialign.bootstrap_wer_ci(refs, first, second, replications=10_000)
    for hyps, expected in ((first, theirs["system1"]), (second, theirs["system2"])):
        ours = bootstrap_interval(count_edits(refs, hyps))
        # 10,000 replicates: the mean is known to std/100, the width to about 1 %.
        assert ours.mean == pytest.approx(100 * expected["wer"], abs=5 * ours.std / 100)
        assert 1.96 * ours.std == pytest.approx(100 * expected["ci95"], rel=0.05)
        assert ours.low < ours.mean < ours.high
        assert ours.high - ours.low == pytest.approx(2 * 100 * expected["ci95"], rel=0.08)
    paired = paired_bootstrap(count_edits(refs, first), count_edits(refs, second))
    assert paired.probability_second_better == pytest.approx(theirs["p_s2_improv_over_s1"], abs=0.03)


def test_same_seed_same_interval(systems):
    refs, hyps, _ = systems
    counts = count_edits(refs, hyps)
    assert bootstrap_interval(counts, seed=4) == bootstrap_interval(counts, seed=4)
    assert bootstrap_interval(counts, seed=4) != bootstrap_interval(counts, seed=5)


def test_paired_bootstrap_of_equal_systems(systems):
    refs, hyps, _ = systems
    counts = count_edits(refs, hyps)
    paired = paired_bootstrap(counts, counts)
    assert (paired.difference, paired.low, paired.high, paired.probability_second_better) == (0, 0, 0, 0)


def test_speaker_blocks_widen_the_interval_when_speakers_differ():
    # Two speakers: one always right, one always wrong. Utterances say 50 ± 5 %, speakers say anything is possible.
    good, bad = [10, 0, 0, 0], [0, 10, 0, 0]
    counts = np.array([good] * 100 + [bad] * 100)
    by_utterance = bootstrap_interval(counts)
    by_speaker = bootstrap_interval(counts, blocks=["a"] * 100 + ["b"] * 100)
    assert 40 < by_utterance.low < by_utterance.high < 60
    assert (by_speaker.low, by_speaker.high, by_speaker.number_of_blocks) == (0, 100, 2)


def test_no_token_no_interval():
    assert bootstrap_interval(np.array([[0, 0, 3, 0]])) is None


def read_trn(path):
    lines = path.read_text().splitlines()
    return {line[line.rindex("(") + 1 : -1]: line[: line.rindex("(")].strip() for line in lines}


def sclite_ops(path):
    paths = re.findall(r'<PATH id="\((.*?)\)"[^>]*>\n(.*?)\n</PATH>', path.read_text(), re.DOTALL)
    return {name: "".join(re.findall(r"(?:^|:)([CSID]),", body)).encode() for name, body in paths}


def our_ops(folder, system):
    scoring = score_texts(read_trn(folder / "ref.trn"), read_trn(folder / f"{system}.trn"), unit="word")
    return scoring.ids, edit_ops(*scoring.encoded, rule=SCLITE)


def test_alignments_equal_sclite():
    for system in "ab":
        ids, ops = our_ops(SCTK, system)
        assert dict(zip(ids, ops)) == sclite_ops(SCTK / f"{system}.sgml")


def test_mapsswe_equals_sc_stats():
    result = mapsswe(our_ops(SCTK, "a")[1], our_ops(SCTK, "b")[1])
    assert result.segments == 465
    assert (round(result.mean, 3), round(result.std, 3), round(result.z, 3)) == (0.404, 1.363, 6.396)
    assert result.significant and result.p == pytest.approx(1.59e-10, rel=0.01)


@pytest.mark.skipif(shutil.which("sc_stats", path=SCTK_BIN) is None, reason="no sclite: apt-get install sctk")
@pytest.mark.parametrize(("seed", "words", "noise"), [(1, 300, (0.1, 0.08)), (2, 5, (0.4, 0.5)), (3, 40, (0.2, 0.2))])
def test_mapsswe_equals_sc_stats_live(tmp_path, seed, words, noise):
    draw = random.Random(seed)
    vocabulary = [f"w{n}" for n in range(words)]
    refs = [draw.choices(vocabulary, k=draw.randint(1, 25)) for _ in range(80)]
    for name, share in (("ref", 0.0), ("a", noise[0]), ("b", noise[1])):
        lines = []
        for number, ref in enumerate(refs):
            kept = [w if draw.random() >= share else draw.choice(["", *vocabulary, f"{w} w0"]) for w in ref]
            lines.append(f"{' '.join(w for w in kept if w)} (s{number % 3}-u{number:03d})\n")
        (tmp_path / f"{name}.trn").write_text("".join(lines))
    for system in "ab":
        command = [f"{SCTK_BIN}/sclite", "-h", f"{system}.trn", "trn", "-r", "ref.trn", "trn", "-i", "wsj"]
        subprocess.run([*command, "-o", "sgml", "-O", ".", "-n", system], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(
        [f"{SCTK_BIN}/sc_stats", "-p", "-t", "mapsswe", "-v", "-n", "out"],
        cwd=tmp_path,
        check=True,
        input=(tmp_path / "a.sgml").read_bytes() + (tmp_path / "b.sgml").read_bytes(),
        capture_output=True,
    )
    report = (tmp_path / "out.stats.mapsswe").read_text()
    theirs = re.search(r"# segs: (\d+)\).*\(mean: (\S+)\) \(std dev: (\S+)\) \(Z Stat: (\S+)\)", report).groups()
    ours = mapsswe(our_ops(tmp_path, "a")[1], our_ops(tmp_path, "b")[1])
    assert (str(ours.segments), f"{ours.mean:.3f}", f"{ours.std:.3f}", f"{ours.z:.3f}") == theirs


def test_segments_need_two_correct_tokens_between_them():
    assert list(error_segments(b"SCCS", b"CCCC")) == [(1, 0), (1, 0)]
    assert list(error_segments(b"SCS", b"CCC")) == [(2, 0)]
    assert list(error_segments(b"CCS", b"SCC")) == [(1, 1)]
    assert list(error_segments(b"CCCS", b"SCCC")) == [(0, 1), (1, 0)]
    assert list(error_segments(b"SCICS", b"CCCC")) == [(3, 0)]
    assert list(error_segments(b"CCCI", b"CCC")) == [(1, 0)]
    assert list(error_segments(b"CCC", b"CCC")) == []


def test_long_pairs_fall_back_to_kaldis_alignment(monkeypatch):
    monkeypatch.setattr("funrecipe.score.align.LONGEST_TABLE", 5)
    refs, hyps = ["abcdefgh"], ["abxdexgh"]
    assert edit_ops(refs, hyps, rule=SCLITE) == edit_ops(refs, hyps, rule=KALDI)
