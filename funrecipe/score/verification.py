"""Trials of speaker verification: scores of pairs, equal error rate, minimum detection cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from funrecipe.errors import DataError, count

# As in FunASR's recipe.
TARGET_PRIOR, MISS_COST, FALSE_ALARM_COST = 0.01, 10.0, 1.0
LABELS = {"target": True, "nontarget": False, "1": True, "0": False}


@dataclass(frozen=True)
class Trial:
    """Whether ``test`` and ``enroll`` have the same speaker. ``is_target``: None where this is not known."""

    enroll: str
    test: str
    is_target: bool | None


def read_trials(path: Path | str) -> list[Trial]:
    """Lines ``enroll test [target|nontarget]``.

    Raises:
        DataError: the file cannot be read, is empty, or a line is not a trial; names file and line.
    """
    trials = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read: {error}", where=str(path)) from None
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) not in (2, 3) or (len(fields) == 3 and fields[2] not in LABELS):
            raise DataError(
                f"'{line.strip()}' is not a trial", where=f"{path}:{number}", hint="write ENROLL TEST target|nontarget"
            )
        trials.append(Trial(fields[0], fields[1], LABELS[fields[2]] if len(fields) == 3 else None))
    if not trials:
        raise DataError("no trials", where=str(path), hint="write lines ENROLL TEST target|nontarget")
    return trials


def score_trials(trials: Sequence[Trial], vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Cosines (N,) of the trials.

    Raises:
        DataError: a trial names a recording without a vector.
    """
    missing = sorted({key for trial in trials for key in (trial.enroll, trial.test)} - vectors.keys())
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(
            f"{count(len(missing), 'recording')} of the trials without an embedding: {', '.join(missing[:5])}{more}",
            hint="embed them too, or remove their trials",
        )
    normalized = {key: unit(vector) for key, vector in vectors.items()}
    return np.array([float(normalized[trial.enroll] @ normalized[trial.test]) for trial in trials])


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector at length 1; a zero vector stays."""
    vector = np.asarray(vector, np.float64)
    return vector / (np.linalg.norm(vector) or 1.0)


@dataclass(frozen=True)
class VerificationRates:
    """``eer``: in percent; ``min_dcf``: relative to the better of accepting all and rejecting all; counts of trials."""

    eer: float
    eer_threshold: float
    min_dcf: float
    targets: int
    nontargets: int

    def line(self) -> str:
        return (
            f"%EER {self.eer:.2f} at {self.eer_threshold:.5f}, minDCF({TARGET_PRIOR}) {self.min_dcf:.4f} "
            f"[ {self.targets} target, {self.nontargets} nontarget trials ]"
        )


def verification_rates(scores: np.ndarray, is_target: np.ndarray) -> VerificationRates:
    """Equal error rate and minimum detection cost of scores (N,) and labels (N,) bool.

    At a threshold, trials that score at least as much are accepted. The equal error rate is where the straight lines
    between neighboring thresholds cross (Brümmer and de Villiers 2013); the cost is NIST's, normalized.

    Raises:
        DataError: no target trials or no nontarget trials.
    """
    targets, nontargets = np.sort(scores[is_target]), np.sort(scores[~is_target])
    if not len(targets) or not len(nontargets):
        what = f"{len(targets)} target and {len(nontargets)} nontarget trials: error rates need both kinds"
        raise DataError(what, hint="label trials of both kinds, or none")
    thresholds = np.append(np.unique(scores), math.inf)
    miss = np.searchsorted(targets, thresholds, side="left") / len(targets)
    false_alarm = 1 - np.searchsorted(nontargets, thresholds, side="left") / len(nontargets)
    after = int(np.argmax(miss >= false_alarm))  # misses grow, false alarms shrink: the first at or past the crossing
    before = max(after - 1, 0)
    gap_before, gap_after = false_alarm[before] - miss[before], miss[after] - false_alarm[after]
    share = gap_before / (gap_before + gap_after) if gap_before + gap_after > 0 else 0.0
    eer = miss[before] + share * (miss[after] - miss[before])
    costs = MISS_COST * TARGET_PRIOR * miss + FALSE_ALARM_COST * (1 - TARGET_PRIOR) * false_alarm
    default_cost = min(MISS_COST * TARGET_PRIOR, FALSE_ALARM_COST * (1 - TARGET_PRIOR))
    threshold = thresholds[after] if math.isfinite(thresholds[after]) else thresholds[before]
    return VerificationRates(
        100 * float(eer), float(threshold), float(costs.min() / default_cost), len(targets), len(nontargets)
    )
