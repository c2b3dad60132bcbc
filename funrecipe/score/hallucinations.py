"""Utterances where the recognizer hallucinates: long runs of insertions, repeated text."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from funrecipe.score.scoring import Scoring

INSERTION_RUN = 6
"""Insertions in a row from which an utterance is flagged."""

# Two to ten tokens, four times back to back; or one token six times.
_CIRCLE = re.compile(r"(.{2,10}?)\1{3,}|(.)\2{5,}", re.DOTALL)

LEAST_REPEATED = 5
"""Tokens that repeat earlier ones: five where one token occurs six times, six where a pair occurs four times."""


def hallucinations(scoring: Scoring) -> Iterator[dict[str, object]]:
    """One item per flag: id, ``reason`` and the tokens in question.

    ``insertions``: a run of at least ``INSERTION_RUN`` (any, where the reference is empty). ``repetition``: an n-gram
    repeated back to back in the hypothesis, and not so in the reference.
    """
    refs, hyps = scoring.encoded
    ops = scoring.ops
    for position in np.flatnonzero(scoring.counts[:, 1:].any(axis=1)).tolist():
        utterance_id, tokens = scoring.ids[position], scoring.hyps[position]
        least = INSERTION_RUN if refs[position] else 1
        if b"I" * least in ops[position]:
            for start, stop in _insertion_runs(ops[position], least):
                yield {"id": utterance_id, "reason": "insertions", "tokens": list(tokens[start:stop])}
        if len(hyps[position]) - len(set(hyps[position])) < LEAST_REPEATED:
            continue
        for match in _CIRCLE.finditer(hyps[position]):
            if match.group() not in refs[position]:
                yield {"id": utterance_id, "reason": "repetition", "tokens": list(tokens[match.start() : match.end()])}


def _insertion_runs(ops: bytes, least: int) -> Iterator[tuple[int, int]]:
    """Positions ``(start, stop)`` in the hypothesis of runs of insertions."""
    for run in re.finditer(rb"I{%d,}" % least, ops):
        start = run.start() - ops.count(b"D", 0, run.start())
        yield start, start + len(run.group())
