"""Two files of texts scored a part at a time, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from funrecipe.score.read import stream_texts
from funrecipe.score.scoring import CHUNK, Coverage, Edits, Scoring, check_coverage, score_part

Texts = dict[str, str]


class ScoreStream:
    """Iterating gives a ``Scoring`` of each part, in order of ids; afterwards what holds for all is known.

    Attributes:
        edits, wrong_utterances, coverage, lower_case, normalization: as those of a ``Scoring``.
    """

    def __init__(
        self, ref: Path | str, hyp: Path | str, *, profile_name: str | None, unit: str, missing_policy: str
    ) -> None:
        self.unit, self.missing_policy, self._profile_name = unit, missing_policy, profile_name
        self._parts = text_parts(stream_texts(ref), stream_texts(hyp))
        self.edits, self.wrong_utterances = Edits(), 0
        self.coverage = sum_coverages([])
        empty = self._score({}, {})
        self.lower_case, self.normalization = empty.lower_case, empty.normalization

    def __iter__(self) -> Iterator[Scoring]:
        """Raises ``DataError`` or ``IncompleteRunError``, after the last part, as ``score_normalized``."""
        coverages = []
        for refs, hyps in self._parts:
            scoring = self._score(refs, hyps)
            self.edits += scoring.edits
            self.wrong_utterances += scoring.wrong_utterances
            coverages.append(scoring.coverage)
            yield scoring
        self.coverage = sum_coverages(coverages)
        check_coverage(self.coverage, self.missing_policy)

    def _score(self, refs: Texts, hyps: Texts) -> Scoring:
        return score_part(
            refs, hyps, profile_name=self._profile_name, unit=self.unit, missing_policy=self.missing_policy
        )


def sum_coverages(parts: Sequence[Coverage]) -> Coverage:
    """Of parts that follow each other in order of ids."""
    return Coverage(
        references=sum(part.references for part in parts),
        hypotheses=sum(part.hypotheses for part in parts),
        scored=sum(part.scored for part in parts),
        missing=tuple(i for part in parts for i in part.missing),
        empty=tuple(i for part in parts for i in part.empty),
        without_reference=tuple(i for part in parts for i in part.without_reference),
    )


def text_parts(refs: Iterable[tuple[str, str]], hyps: Iterable[tuple[str, str]]) -> Iterator[tuple[Texts, Texts]]:
    """The texts of both sides, each in order of ids, cut at the same ids."""
    refs, hyps = iter(refs), iter(hyps)
    next_hyp = next(hyps, None)
    while ref_part := dict(islice(refs, CHUNK)):
        last = next(reversed(ref_part))
        hyp_part: Texts = {}
        while next_hyp is not None and next_hyp[0] <= last:
            hyp_part[next_hyp[0]] = next_hyp[1]
            next_hyp = next(hyps, None)
            if len(hyp_part) == CHUNK and next_hyp is not None and next_hyp[0] <= last:
                yield _before(ref_part, next_hyp[0]), hyp_part
                ref_part, hyp_part = _from(ref_part, next_hyp[0]), {}
        yield ref_part, hyp_part
    while next_hyp is not None:
        yield {}, dict([next_hyp, *islice(hyps, CHUNK)])
        next_hyp = next(hyps, None)


def _before(texts: Texts, key: str) -> Texts:
    return {i: text for i, text in texts.items() if i < key}


def _from(texts: Texts, key: str) -> Texts:
    return {i: text for i, text in texts.items() if i >= key}
