"""Trials of speaker verification: worked by hand, and against scikit-learn's curves."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.metrics import det_curve, roc_curve

from funrecipe.cli import main
from funrecipe.errors import DataError
from funrecipe.score.verification import Trial, read_trials, score_trials, verification_rates
from funrecipe.speaker.vectors import write_vectors


def rates(targets, nontargets):
    labels = np.array([True] * len(targets) + [False] * len(nontargets))
    return verification_rates(np.array([*targets, *nontargets], float), labels)


def test_separated_scores_have_no_error():
    found = rates([0.8, 0.9], [0.1, 0.2, 0.3])
    assert (found.eer, found.min_dcf, found.targets, found.nontargets) == (0.0, 0.0, 2, 3)
    assert 0.3 < found.eer_threshold <= 0.8


def test_one_exchanged_pair_of_four_is_a_quarter():
    found = rates([0.9, 0.8, 0.7, 0.2], [0.6, 0.1, 0.05, 0.0])
    assert found.eer == pytest.approx(25.0)
    # Accepting from 0.7 on: one miss of four costs 10 * 0.01 * 0.25; the default answer costs 0.1.
    assert found.min_dcf == pytest.approx(0.25)


def test_between_two_thresholds_the_rates_run_straight():
    # At 0.5: 0 of 2 missed, 1 of 3 accepted; at 0.6: 1 of 2 missed, 0 of 3 accepted.
    assert rates([0.5, 0.7], [0.5, 0.1, 0.2]).eer == pytest.approx(100 * 0.2)


def test_scores_that_tell_nothing_are_right_half_of_the_time():
    assert rates([0.5] * 4, [0.5] * 4).eer == pytest.approx(50.0)
    assert rates([0.1], [0.9]).eer == pytest.approx(100.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_rates_are_those_of_scikit_learns_curves(seed):
    generator = np.random.default_rng(seed)
    labels = generator.random(400) < 0.3
    scores = generator.normal(size=400) + labels
    found = verification_rates(scores, labels)
    false_alarm, hit, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = brentq(lambda x: 1 - x - np.interp(x, false_alarm, hit), 0, 1)
    assert found.eer == pytest.approx(100 * expected, abs=1e-6)
    accepted, missed, _ = det_curve(labels, scores)
    costs = 10 * 0.01 * np.append(missed, 1.0) + 0.99 * np.append(accepted, 0.0)
    assert found.min_dcf == pytest.approx(costs.min() / 0.1)


def test_one_kind_of_trials_has_no_rate():
    with pytest.raises(DataError, match="0 target and 2 nontarget trials"):
        rates([], [0.1, 0.2])


def test_a_score_is_the_cosine_of_the_pair():
    vectors = {"a": np.array([3.0, 0.0]), "b": np.array([3.0, 4.0]), "silent": np.zeros(2)}
    trials = [Trial("a", "b", True), Trial("b", "b", None), Trial("a", "silent", False)]
    assert score_trials(trials, vectors) == pytest.approx([0.6, 1.0, 0.0])
    with pytest.raises(DataError, match="1 recording of the trials without an embedding: c"):
        score_trials([Trial("a", "c", None)], vectors)


def test_trials_with_and_without_labels(tmp_path):
    (tmp_path / "trials").write_text("a b target\n\na c nontarget\na d\nb c 1\n")
    assert [trial.is_target for trial in read_trials(tmp_path / "trials")] == [True, False, None, True]


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\n", "'a' is not a trial\n  at: .*trials:1"), ("a b yes\n", "not a trial"), ("\n", "no trials")],
)
def test_a_damaged_list_of_trials_is_named(content, message, tmp_path):
    (tmp_path / "trials").write_text(content)
    with pytest.raises(DataError, match=message):
        read_trials(tmp_path / "trials")


def test_the_threshold_is_a_score(tmp_path):
    assert math.isfinite(rates([0.1], [0.9]).eer_threshold)


def test_trials_without_labels_are_counted_beside_the_rates(tmp_path, capsys):
    write_vectors(tmp_path, "xvector", {name: np.array([1.0, float(name == "b")], np.float32) for name in "abc"})
    (tmp_path / "trials").write_text("a c target\na b nontarget\nb c\n")
    assert main(["verify", str(tmp_path / "trials"), str(tmp_path / "xvector.scp"), str(tmp_path / "scores")]) == 0
    rates_line, unlabeled = capsys.readouterr().out.splitlines()
    assert "1 target, 1 nontarget" in rates_line and unlabeled.startswith("1 trial of 3 without a label")
