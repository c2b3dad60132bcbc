"""How uncertain a number is: bootstrap intervals, and whether two systems differ.

Utterances (or speakers, whose utterances are not independent) are drawn with replacement: Bisani & Ney, ICASSP 2004;
Kaldi's ``compute-wer-bootci``. MAPSSWE: Gillick & Cox, ICASSP 1989; NIST's ``sc_stats``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

REPLICATES = 10_000
CHUNK_DRAWS = 1 << 22
"""Draws per chunk; bounds the memory."""


@dataclass(frozen=True)
class Interval:
    """95 % interval of an error rate in percent.

    ``low`` and ``high`` are percentiles of the replicates. Kaldi's bounds are
    ``mean ± 1.96 std``, symmetric, and may fall below 0.
    """

    low: float
    high: float
    mean: float
    std: float
    blocks: str
    number_of_blocks: int
    replicates: int
    seed: int

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Draws:
    """What bootstrap replicates are drawn from: how often each pair of (errors, tokens) occurs, of utterances, or of
    blocks of them (speakers, recordings), which are not independent.

    The pairs of a million utterances are a few hundred different ones.
    """

    def __init__(self) -> None:
        self._number_of: Counter[tuple[int, int]] = Counter()
        self._blocks: dict[str, list[int]] = {}

    def add(self, counts: np.ndarray, blocks: Iterable[str] | None = None) -> None:
        """Take rows (N, 4), as ``count_edits`` gives them; ``blocks`` has the name of the block of each."""
        if not len(counts):
            return
        rows = np.stack([counts[:, 1:].sum(axis=1), counts[:, [0, 1, 3]].sum(axis=1)], axis=1)
        if blocks is None:
            distinct, number = _distinct(rows)
            self._number_of.update(dict(zip(map(tuple, distinct.tolist()), number.tolist())))
            return
        for block, (errors, tokens) in zip(blocks, rows.tolist()):
            sums = self._blocks.setdefault(block, [0, 0])
            sums[0] += errors
            sums[1] += tokens

    def interval(self, *, replicates: int = REPLICATES, seed: int = 0) -> Interval | None:
        """Interval of the pooled rate; None when no replicate has a token."""
        number_of = self._number_of or Counter((errors, tokens) for errors, tokens in self._blocks.values())
        if not number_of:
            return None
        distinct, number = zip(*sorted(number_of.items()))
        totals = _replicated_sums(np.array(distinct), np.array(number), replicates, seed)
        totals = totals[totals[:, 1] > 0]
        if not len(totals):
            return None
        rates = 100.0 * totals[:, 0] / totals[:, 1]
        low, high = np.percentile(rates, [2.5, 97.5])
        return Interval(
            low=float(low),
            high=float(high),
            mean=float(rates.mean()),
            std=float(rates.std()),
            blocks="speaker" if self._blocks else "utterance",
            number_of_blocks=sum(number),
            replicates=replicates,
            seed=seed,
        )


def bootstrap_interval(
    counts: np.ndarray, *, blocks: Sequence[str] | None = None, replicates: int = REPLICATES, seed: int = 0
) -> Interval | None:
    """Interval of the pooled rate of rows (N, 4); see ``Draws``."""
    draws = Draws()
    draws.add(counts, blocks)
    return draws.interval(replicates=replicates, seed=seed)


@dataclass(frozen=True)
class PairedBootstrap:
    """Difference of two rates (second minus first, percent points) on the same draws of utterances."""

    difference: float
    low: float
    high: float
    probability_second_better: float
    replicates: int
    seed: int


def paired_bootstrap(
    counts_a: np.ndarray, counts_b: np.ndarray, *, replicates: int = REPLICATES, seed: int = 0
) -> PairedBootstrap:
    """Compare two systems on the same references; rows (N, 4) of both belong to the same utterances.

    The probability is Kaldi's: the share of replicates in which the second system has fewer errors.
    """
    tokens = counts_a[:, [0, 1, 3]].sum(axis=1)
    errors_a, errors_b = counts_a[:, 1:].sum(axis=1), counts_b[:, 1:].sum(axis=1)
    rows = np.stack([errors_a - errors_b, tokens], axis=1)
    totals = _replicated_sums(*_distinct(rows), replicates, seed)
    better = float(np.mean(totals[:, 0] > 0))
    totals = totals[totals[:, 1] > 0]
    differences = -100.0 * totals[:, 0] / totals[:, 1]
    low, high = np.percentile(differences, [2.5, 97.5]) if len(totals) else (math.nan, math.nan)
    whole = 100.0 * float((errors_b - errors_a).sum()) / float(tokens.sum()) if tokens.sum() else math.nan
    return PairedBootstrap(whole, float(low), float(high), better, replicates, seed)


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different ones of rows (N, 2), in ascending order, and how often each occurs."""
    low, width = rows.min(axis=0), np.ptp(rows, axis=0) + 1  # one number per row sorts faster, same order
    codes, number = np.unique((rows[:, 0] - low[0]) * width[1] + rows[:, 1] - low[1], return_counts=True)
    return np.stack([codes // width[1] + low[0], codes % width[1] + low[1]], axis=1), number


def _replicated_sums(distinct: np.ndarray, number: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Sums (replicates, 2) over rows drawn with replacement: ``distinct`` (K, 2) in ascending order, each of which
    exists ``number`` (K,) times.

    How often each *distinct* row is drawn is multinomial: the same distribution as drawing single rows, at the cost of
    the distinct ones.
    """
    generator = np.random.default_rng(seed)
    total, shares = int(number.sum()), number / number.sum()
    largest = max(1, CHUNK_DRAWS // len(distinct))
    sizes = [min(largest, replicates - start) for start in range(0, replicates, largest)]
    return np.concatenate([generator.multinomial(total, shares, size=size) @ distinct for size in sizes])


@dataclass(frozen=True)
class Mapsswe:
    """Matched pairs sentence-segment word error test; ``z > 0``: the first system makes more errors."""

    segments: int
    mean: float
    std: float
    z: float
    p: float

    @property
    def significant(self) -> bool:
        return self.p < 0.05


MIN_CORRECT = 2
"""Tokens in a row that both systems got right and that end a segment (the default of ``sc_stats``)."""


def mapsswe(ops_a: Sequence[bytes], ops_b: Sequence[bytes]) -> Mapsswe:
    """Test the mean difference of errors per segment of two systems, given both alignments of each utterance.

    With sclite's alignments (``edit_ops(…, rule=SCLITE)``) the result is that of ``sc_stats``.
    """
    differences = np.array(
        [a - b for one, other in zip(ops_a, ops_b) for a, b in error_segments(one, other)], dtype=np.float64
    )
    if not len(differences):
        return Mapsswe(segments=0, mean=0.0, std=0.0, z=0.0, p=1.0)
    mean = float(differences.mean())
    std = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    z = mean / (std / math.sqrt(len(differences))) if std else 0.0
    return Mapsswe(segments=len(differences), mean=mean, std=std, z=z, p=math.erfc(abs(z) / math.sqrt(2)))


def error_segments(ops_a: bytes, ops_b: bytes) -> Iterator[tuple[int, int]]:
    """Errors of both systems in every segment of one utterance with any errors.

    Segments are separated by at least ``MIN_CORRECT`` reference tokens in a
    row that both got right, with nothing inserted in between.
    """
    errors_a = errors_b = 0
    both_correct = 0
    for (inserted_a, op_a), (inserted_b, op_b) in zip(_by_reference_token(ops_a), _by_reference_token(ops_b)):
        for new_a, new_b in ((inserted_a, inserted_b), (op_a in b"SD", op_b in b"SD")):
            if not (new_a or new_b):
                continue
            if both_correct >= MIN_CORRECT and (errors_a or errors_b):
                yield errors_a, errors_b
                errors_a = errors_b = 0
            errors_a, errors_b, both_correct = errors_a + new_a, errors_b + new_b, 0
        if op_a == op_b == ord("C"):
            both_correct += 1
    if errors_a or errors_b:
        yield errors_a, errors_b


def _by_reference_token(ops: bytes) -> Iterator[tuple[int, int]]:
    """Per reference token: insertions in front of it, its own letter; a last item for insertions at the end."""
    inserted = 0
    for op in ops:
        if op == ord("I"):
            inserted += 1
        else:
            yield inserted, op
            inserted = 0
    yield inserted, 0
