"""Two files of texts scored a part at a time, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from funrecipe.data.in_order import Columns, RowsAhead
from funrecipe.data.texts import text_blocks
from funrecipe.score.scoring import Coverage, Edits, Scoring, check_coverage, normalize_both, score_part

Texts = dict[str, str]


class ScoreSum:
    """Scorings of parts that follow each other in order of ids, added up.

    Attributes:
        edits, wrong_utterances, coverage, unit, missing_policy, lower_case, normalization: as those of a ``Scoring``;
            the coverage once it is finished.
    """

    def __init__(self, empty: Scoring) -> None:
        """``empty``: of no utterance, scored as the parts are."""
        self.unit, self.missing_policy = empty.unit, empty.missing_policy
        self.lower_case, self.normalization = empty.lower_case, empty.normalization
        self.edits, self.wrong_utterances, self.coverage = Edits(), 0, empty.coverage
        self._coverages: list[Coverage] = []

    def add(self, part: Scoring) -> None:
        self.edits += part.edits
        self.wrong_utterances += part.wrong_utterances
        self._coverages.append(part.coverage)

    def finish(self) -> None:
        """After the last part. Raises ``DataError`` or ``IncompleteRunError`` as ``score_texts``."""
        self.coverage = sum_coverages(self._coverages)
        check_coverage(self.coverage, self.missing_policy)


class ScoreStream(ScoreSum):
    """Iterating gives a ``Scoring`` of each part; afterwards what holds for all is known."""

    def __init__(
        self, ref: Path | str, hyp: Path | str, *, profile_name: str | None, unit: str, missing_policy: str
    ) -> None:
        self._profile_name = profile_name
        self._score = partial(score_part, unit=unit, missing_policy=missing_policy)
        super().__init__(self._part({}, {}))
        self._parts = text_parts(text_blocks(ref), text_blocks(hyp))

    def __iter__(self) -> Iterator[Scoring]:
        """Raises after the last part, as ``finish``."""
        for refs, hyps in self._parts:
            scoring = self._part(refs, hyps)
            self.add(scoring)
            yield scoring
        self.finish()

    def _part(self, refs: Texts, hyps: Texts) -> Scoring:
        *texts, normalization = normalize_both(refs, hyps, self._profile_name)
        return self._score(*texts, normalization=normalization)


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


def text_parts(refs: Iterable[Columns[str]], hyps: Iterable[Columns[str]]) -> Iterator[tuple[Texts, Texts]]:
    """The texts of both sides, each in order of ids, cut at the same ids."""
    sides = RowsAhead(refs), RowsAhead(hyps)
    while ends := [last for side in sides if (last := side.last) is not None]:
        ref_part, hyp_part = (side.up_to(min(ends)) for side in sides)
        yield ref_part, hyp_part
