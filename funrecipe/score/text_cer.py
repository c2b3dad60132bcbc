"""``text.cer``: per utterance its counts, reference and hypothesis; at the end three summary lines, before
them a warning where many hypotheses are empty.

The layout is FunASR's ``compute_wer.py``; what differs is listed in ``docs/scoring.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

from funrecipe.score.scoring import Scoring, percent
from funrecipe.score.stream import ScoreSum
from funrecipe.score.tokenize import with_blanks

FEWEST_FOR_A_WARNING = 10


def summary_lines(scoring: Scoring | ScoreSum) -> list[str]:
    """``%WER``, ``%SER`` and ``Scored …``: N references scored, M of them without a hypothesis."""
    edits, scored, wrong = scoring.edits, scoring.coverage.scored, scoring.wrong_utterances
    missing = 0 if scoring.missing_policy == "present" else len(scoring.coverage.missing)
    return [
        f"%WER {'none' if math.isnan(edits.rate) else format(edits.rate, '.2f')} [ {edits.errors} / {edits.tokens}, "
        f"{edits.insertions} ins, {edits.deletions} del, {edits.substitutions} sub ]",
        f"%SER {percent(wrong, scored):.2f} [ {wrong} / {scored} ]",
        f"Scored {scored} sentences, {missing} not present in hyp.",
    ]


def blocks(scoring: Scoring) -> Iterator[str]:
    """The block of each utterance."""
    for utterance_id, ref, hyp, row in zip(scoring.ids, scoring.refs, scoring.hyps, scoring.counts.tolist()):
        yield f"{utterance_id}{_counts_text(*row)}\nref:\t{with_blanks(ref)}\nhyp:\t{with_blanks(hyp)}\n"


def ending(scoring: Scoring | ScoreSum) -> str:
    """What the file ends with."""
    is_many = scoring.coverage.scored >= FEWEST_FOR_A_WARNING  # with only a handful they are obvious
    warning = [scoring.coverage.warning] if is_many and scoring.coverage.warning else []
    return "\n" + "".join(line + "\n" for line in [*warning, *summary_lines(scoring)])


@lru_cache(maxsize=1 << 16)  # many utterances share their counts, and percentages take long to print
def _counts_text(cor: int, sub: int, ins: int, dele: int) -> str:
    tokens = cor + sub + dele
    if tokens:
        corr, cer = cor / tokens, (sub + ins + dele) / tokens
    else:  # no reference tokens; the rate is inf when something was inserted
        corr, cer = 0.0, math.inf if ins else 0.0
    return f"(nwords={tokens},cor={cor},ins={ins},del={dele},sub={sub}) corr:{corr:.2%},cer:{cer:.2%}"
