"""From texts by id to counted edits: which utterances are scored, and the edits that each of them costs."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import numpy as np

from funrecipe.data.in_order import CHUNK
from funrecipe.errors import DataError, IncompleteRunError, list_problems
from funrecipe.score.align import TokenEncoder, count_edits, edit_ops
from funrecipe.score.tokenize import tokenize
from funrecipe.text.normalize import get_profile


@dataclass(frozen=True)
class Edits:
    """Counts of one utterance or of many; ``rate`` is in percent of the reference tokens."""

    correct: int = 0
    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0

    @property
    def tokens(self) -> int:
        return self.correct + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float:
        """Token error rate in percent; without reference tokens ``inf``, or ``nan`` when nothing was inserted."""
        return percent(self.errors, self.tokens)

    def __add__(self, other: Edits) -> Edits:
        return Edits(
            self.correct + other.correct,
            self.substitutions + other.substitutions,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
        )

    def as_json(self) -> dict[str, int | float | None]:
        rate = self.rate
        return {
            "rate": rate if math.isfinite(rate) else None,
            "tokens": self.tokens,
            "errors": self.errors,
            "correct": self.correct,
            "substitutions": self.substitutions,
            "insertions": self.insertions,
            "deletions": self.deletions,
        }


def percent(part: float, whole: float) -> float:
    if whole:
        return 100.0 * part / whole
    return math.inf if part else math.nan


def warning_of_empty(num_empty: int, num_hypotheses: int) -> str | None:
    """The warning for more than a tenth of the hypotheses having no text, or None."""
    if 10 * num_empty <= num_hypotheses:
        return None
    return (
        f"WARNING: {num_empty} of {num_hypotheses} hypotheses are empty ({percent(num_empty, num_hypotheses):.0f} %):"
        " check the audio and the search options (ctc_weight, lm_weight, ngram_weight, penalty)"
    )


def sum_edits(counts: np.ndarray) -> Edits:
    """Pooled counts of rows (N, 4) as ``count_edits`` gives them."""
    return Edits(*(int(n) for n in counts.sum(axis=0)))


@dataclass(frozen=True)
class Coverage:
    """Which utterances the number covers. Every list of ids is sorted."""

    references: int
    hypotheses: int
    scored: int
    missing: tuple[str, ...]
    empty: tuple[str, ...]
    without_reference: tuple[str, ...]

    @property
    def warning(self) -> str | None:
        """The warning where more than a tenth of the hypotheses are empty but their references are not, or None."""
        return warning_of_empty(len(self.empty), self.scored)

    def line(self) -> str:
        """One human-readable line that names everything out of the ordinary."""
        parts = [f"{self.scored} of {self.references} references scored"]
        if self.missing:
            counted = "counted as deletions" if self.scored == self.references else "LEFT OUT"
            parts.append(f"{len(self.missing)} without a hypothesis ({counted})")
        if self.empty:
            parts.append(f"{len(self.empty)} empty hypotheses (counted as deletions)")
        if self.without_reference:
            parts.append(f"{len(self.without_reference)} hypotheses without a reference (ignored)")
        return "coverage: " + ", ".join(parts)

    def as_json(self) -> dict[str, object]:
        return {
            "references": self.references,
            "hypotheses": self.hypotheses,
            "scored": self.scored,
            "missing": len(self.missing),
            "empty_hypotheses": len(self.empty),
            "warning": self.warning,
            "hypotheses_without_reference": len(self.without_reference),
            "missing_ids": list(self.missing),
            "empty_ids": list(self.empty),
            "without_reference_ids": list(self.without_reference),
        }


@dataclass(frozen=True)
class Scoring:
    """Scored utterances, sorted by id: texts as compared, their tokens, the same encoded, and ``counts`` (N, 4)."""

    ids: Sequence[str]
    ref_texts: Sequence[str] = field(repr=False)
    hyp_texts: Sequence[str] = field(repr=False)
    refs: Sequence[Sequence[str]]
    hyps: Sequence[Sequence[str]]
    encoded: tuple[Sequence[str], Sequence[str]] = field(repr=False)
    counts: np.ndarray = field(repr=False)
    coverage: Coverage
    unit: str
    missing_policy: str
    lower_case: bool = True
    normalization: str | None = None

    @cached_property
    def edits(self) -> Edits:
        return sum_edits(self.counts)

    @cached_property
    def wrong_utterances(self) -> int:
        """Utterances with an error, which ``%SER`` is the share of (``text_cer.summary_lines``)."""
        return int(np.count_nonzero(self.counts[:, 1:].any(axis=1)))

    @cached_property
    def ops(self) -> list[bytes]:
        """The alignment of every utterance as letters ``C S D I``; computed when first asked for."""
        return edit_ops(*self.encoded)

    def in_unit(self, unit: str) -> Scoring:
        """The same utterances scored by other tokens."""
        if unit == self.unit:
            return self
        if unit != "word" and self.is_in_characters:
            return replace(self, unit=unit)
        refs, hyps, encoded = tokenize_and_encode(self.ref_texts, self.hyp_texts, unit)
        return replace(self, refs=refs, hyps=hyps, encoded=encoded, counts=count_edits(*encoded), unit=unit)

    @cached_property
    def is_in_characters(self) -> bool:
        """Whether every token is one character; ``char`` and ``mixed`` are the same then."""
        return all(isinstance(tokens, str) for tokens in chain(self.refs, self.hyps))

    def edits_in(self, unit: str) -> Edits:
        """The pooled counts by other tokens, a chunk of utterances at a time."""
        if unit == self.unit or (unit != "word" and self.is_in_characters):
            return self.edits
        total = np.zeros(4, dtype=np.int64)
        for start in range(0, len(self.ids), CHUNK):
            refs, hyps = self.ref_texts[start : start + CHUNK], self.hyp_texts[start : start + CHUNK]
            if unit == "word":
                counted, refs, hyps = _single_words(refs, hyps)
                total += counted
            _, _, encoded = tokenize_and_encode(refs, hyps, unit)
            total += count_edits(*encoded).sum(axis=0)
        return sum_edits(total[None])


def cover(refs: Mapping[str, str], hyps: Mapping[str, str], missing_policy: str) -> tuple[list[str], Coverage]:
    """The ids to score, sorted, and which utterances they cover."""
    ids = sorted(refs.keys() & hyps.keys() if missing_policy == "present" else refs)
    return ids, Coverage(
        references=len(refs),
        hypotheses=len(hyps),
        scored=len(ids),
        missing=tuple(sorted(refs.keys() - hyps.keys())),
        empty=tuple(sorted(i for i in hyps.keys() & refs.keys() if not hyps[i] and refs[i])),
        without_reference=tuple(sorted(hyps.keys() - refs.keys())),
    )


def check_coverage(coverage: Coverage, missing_policy: str) -> None:
    """Raises ``DataError`` when there are no references, or no ids in common;
    ``IncompleteRunError`` for a missing hypothesis under policy ``error``.
    """
    missing = coverage.missing
    if not coverage.references:
        raise DataError("no references, so nothing to score", hint="give lines of 'id text'")
    if len(missing) == coverage.references and coverage.hypotheses:
        raise DataError(
            f"none of the {coverage.hypotheses} hypothesis ids is among the {coverage.references} reference ids: "
            f"'{coverage.without_reference[0]}' … against '{missing[0]}' …",
            hint="check that both files belong to the same data set",
        )
    if missing and missing_policy == "error":
        raise IncompleteRunError(
            f"{len(missing)} of {coverage.references} references have no hypothesis:\n{list_problems(missing)}",
            hint="finish the run, or pass --missing strict (count as deletions) or --missing present (leave out)",
        )
    if not coverage.scored:
        raise DataError(
            "nothing to score: no reference has a hypothesis", hint="use --missing strict to count deletions"
        )


def tokenize_and_encode(
    ref_texts: Iterable[str], hyp_texts: Iterable[str], unit: str
) -> tuple[list[Sequence[str]], list[Sequence[str]], tuple[list[str], list[str]]]:
    """Tokens of both sides and the same as strings for the aligner."""
    refs = [tokenize(text, unit) for text in ref_texts]
    hyps = [tokenize(text, unit) for text in hyp_texts]
    encoder = TokenEncoder()
    encoded = [encoder.encode_pair(ref, hyp) for ref, hyp in zip(refs, hyps)]
    return refs, hyps, ([ref for ref, _ in encoded], [hyp for _, hyp in encoded])


def _single_words(refs: Sequence[str], hyps: Sequence[str]) -> tuple[list[int], list[str], list[str]]:
    """Counts by words of the pairs that need no alignment, and the other pairs; texts without spaces are one word."""
    counts = [0, 0, 0, 0]
    other_refs, other_hyps = [], []
    for ref, hyp in zip(refs, hyps):
        ref_words, hyp_words = ref.split(), hyp.split()
        if ref_words == hyp_words:
            counts[0] += len(ref_words)
        elif len(ref_words) == len(hyp_words) == 1:
            counts[1] += 1
        else:
            other_refs.append(ref)
            other_hyps.append(hyp)
    return counts, other_refs, other_hyps


def comparable(texts: list[str], *, lower_case: bool = True) -> list[str]:
    """Texts in lower case and in Unicode's composed form (NFC); nearly always all of them already are."""
    together = "\n".join(texts)
    if lower_case and (lower := together.lower()) != together:
        texts, together = [text.lower() for text in texts], lower
    if unicodedata.is_normalized("NFC", together):
        return texts
    return [unicodedata.normalize("NFC", text) for text in texts]


def require_reference_tokens(ref_tokens: int, insertions: int, scored: int) -> None:
    """Raises ``DataError`` where no reference holds a token: an error rate is a share of them."""
    if not ref_tokens:
        raise DataError(
            f"all {scored} references are blank, so there is no error rate ({insertions} insertions)",
            hint="give the transcripts; on recordings without speech the insertions are the result",
        )


def score_texts(
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    *,
    unit: str = "mixed",
    missing_policy: str = "strict",
    lower_case: bool = True,
    normalization: str | None = None,
) -> Scoring:
    """Score texts by id, in Unicode's composed form: a decomposed accent or Hangul syllable is the same text.

    Args:
        unit: ``mixed``, ``char`` or ``word`` (``funrecipe.score.tokenize``).
        missing_policy: ``strict``: a reference without a hypothesis is all deletions; ``present``: it is left out;
            ``error``: it is an error. An empty hypothesis is all deletions under each of them.
        lower_case: compare in lower case.
        normalization: name and version of the profile that the texts went through, for the record.

    Raises:
        DataError: nothing to score.
        IncompleteRunError: a hypothesis is missing under ``error``.
    """
    scoring = score_part(
        refs, hyps, unit=unit, missing_policy=missing_policy, lower_case=lower_case, normalization=normalization
    )
    check_coverage(scoring.coverage, missing_policy)
    return scoring


def score_part(
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    *,
    unit: str,
    missing_policy: str,
    lower_case: bool = True,
    normalization: str | None = None,
) -> Scoring:
    """As ``score_texts``, for part of the utterances; possibly none of them can be scored."""
    ids, coverage = cover(refs, hyps, missing_policy)
    ref_texts = [refs[i] for i in ids]
    hyp_texts = [hyps.get(i, "") for i in ids]
    ref_texts, hyp_texts = (comparable(side, lower_case=lower_case) for side in (ref_texts, hyp_texts))
    ref_tokens, hyp_tokens, encoded = tokenize_and_encode(ref_texts, hyp_texts, unit)
    return Scoring(
        ids=ids,
        ref_texts=ref_texts,
        hyp_texts=hyp_texts,
        refs=ref_tokens,
        hyps=hyp_tokens,
        encoded=encoded,
        counts=count_edits(*encoded),
        coverage=coverage,
        unit=unit,
        missing_policy=missing_policy,
        lower_case=lower_case,
        normalization=normalization,
    )


def normalize_both(
    refs: Mapping[str, str], hyps: Mapping[str, str], profile_name: str | None
) -> tuple[Mapping[str, str], Mapping[str, str], str | None]:
    """The texts after a normalization profile, and its name and version; as they are where it is None.

    Raises:
        UsageError: no profile has that name.
    """
    if profile_name is None:
        return refs, hyps, None
    profile = get_profile(profile_name)
    refs, hyps = ({i: text.strip() for i, text in side.items()} for side in profile.normalize_all(refs, hyps))
    return refs, hyps, profile.label
