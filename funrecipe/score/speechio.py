"""SpeechIO's protocol: ``DETAILS.txt`` and ``RESULTS.txt`` with the bytes of its ``error_rate_zh``, faults included.

What the published tool leaves out silently (references without a hypothesis, hypotheses whose reference is blank,
hypotheses that are empty) is left out here too, but counted: ``Totals.left_out``. Layouts: SpeechColab/Leaderboard
``utils/error_rate_zh`` and ``utils/benchmark.sh``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from funrecipe.errors import DataError
from funrecipe.score.align import edit_ops
from funrecipe.score.scoring import Edits, tokenize_and_encode
from funrecipe.score.tokenize import with_blanks

UNIT_OF_TOKENIZER = {"whitespace": "word", "char": "char"}
CACHED = 1 << 16
_RUNS = re.compile(b"C+|[SID]")
_NARROW = re.compile("[^\u4e00-\u9fa5]+")


@dataclass(frozen=True)
class Totals:
    """What the published tool counts over its utterances, and which ones it leaves out (ids in order)."""

    edits: Edits = Edits()
    num_eval_utts: int = 0
    num_utts_with_error: int = 0
    num_ref_utts: int = 0
    num_hyp_utts: int = 0
    hyp_without_ref: Sequence[str] = ()
    hyp_with_blank_ref: Sequence[str] = ()
    ref_without_hyp: Sequence[str] = ()

    @property
    def sentence_error_rate(self) -> float:
        return 100.0 * self.num_utts_with_error / self.num_eval_utts

    def left_out(self) -> str:
        """One human-readable line; empty when the published tool leaves nothing out."""
        parts = [
            f"{len(ids)} {what}"
            for ids, what in (
                (self.ref_without_hyp, "references whose hypothesis is missing or empty"),
                (self.hyp_with_blank_ref, "hypotheses whose reference is blank"),
                (self.hyp_without_ref, "hypotheses without a reference"),
            )
            if ids
        ]
        return f"SpeechIO's protocol leaves out {', '.join(parts)}" if parts else ""


@dataclass(frozen=True)
class Evaluation:
    """Utterances that the published tool would score, in its order, with their alignments.

    Attributes:
        counts: correct, substituted, inserted and deleted tokens of each.
    """

    ids: Sequence[str]
    refs: Sequence[Sequence[str]]
    hyps: Sequence[Sequence[str]]
    ops: Sequence[bytes]
    counts: Sequence[tuple[int, int, int, int]]
    totals: Totals


def sum_totals(parts: Sequence[Totals]) -> Totals:
    """Of parts that follow each other in order of ids.

    Raises:
        DataError: the published tool would not score a single utterance.
    """
    total = Totals(
        edits=sum((part.edits for part in parts), Edits()),
        num_eval_utts=sum(part.num_eval_utts for part in parts),
        num_utts_with_error=sum(part.num_utts_with_error for part in parts),
        num_ref_utts=sum(part.num_ref_utts for part in parts),
        num_hyp_utts=sum(part.num_hyp_utts for part in parts),
        hyp_without_ref=[i for part in parts for i in part.hyp_without_ref],
        hyp_with_blank_ref=[i for part in parts for i in part.hyp_with_blank_ref],
        ref_without_hyp=[i for part in parts for i in part.ref_without_hyp],
    )
    if not total.num_eval_utts:
        raise DataError(
            f"SpeechIO's protocol has nothing to score: none of the {total.num_hyp_utts} non-empty hypotheses "
            f"has one of the {len(total.ref_without_hyp)} non-blank references",
            hint="use --protocol strict, which counts them as deletions",
        )
    return total


def evaluate(refs: Mapping[str, str], hyps: Mapping[str, str], tokenizer: str) -> Evaluation:
    """Align what the published tool would align; ``tokenizer`` is ``whitespace`` or ``char``.

    Raises:
        DataError: it would not score a single utterance.
    """
    evaluation = evaluate_part(refs, hyps, tokenizer)
    sum_totals([evaluation.totals])
    return evaluation


def evaluate_part(refs: Mapping[str, str], hyps: Mapping[str, str], tokenizer: str) -> Evaluation:
    """The same for some of the utterances, of which none may be scored."""
    blank = {i for i, text in refs.items() if not text.strip()}
    ids = [i for i in sorted(hyps) if i in refs and i not in blank]
    ref_tokens, hyp_tokens, encoded = tokenize_and_encode(
        [refs[i] for i in ids], [hyps[i] for i in ids], UNIT_OF_TOKENIZER[tokenizer]
    )
    ops = edit_ops(*encoded)
    counts = [(one.count(b"C"), one.count(b"S"), one.count(b"I"), one.count(b"D")) for one in ops]
    totals = Totals(
        edits=Edits(*map(sum, zip(*counts))),
        num_eval_utts=len(ids),
        num_utts_with_error=sum(row[0] != len(one) for row, one in zip(counts, ops)),
        num_ref_utts=len(refs),
        num_hyp_utts=len(hyps),
        hyp_without_ref=sorted(hyps.keys() - refs.keys()),
        hyp_with_blank_ref=sorted(hyps.keys() & blank),
        ref_without_hyp=sorted(refs.keys() - hyps.keys() - blank),
    )
    return Evaluation(ids, ref_tokens, hyp_tokens, ops, counts, totals)


def results_json(totals: Totals) -> dict[str, int | float]:
    """The first line of RESULTS.txt; the order of the keys is part of the format."""
    edits = totals.edits
    return {
        "num_ref_utts": totals.num_ref_utts,
        "num_hyp_utts": totals.num_hyp_utts,
        "num_eval_utts": totals.num_eval_utts,
        "num_hyp_without_ref": len(totals.hyp_without_ref),
        "C": edits.correct,
        "S": edits.substitutions,
        "I": edits.insertions,
        "D": edits.deletions,
        "token_error_rate": edits.rate,
        "num_utts_with_error": totals.num_utts_with_error,
        "sentence_error_rate": totals.sentence_error_rate,
    }


def results_txt(totals: Totals) -> str:
    edits = totals.edits
    return (
        f"{json.dumps(results_json(totals))}\n"
        f"%WER {edits.rate:.2f} [ {edits.errors} / {edits.tokens}, {edits.insertions} ins, "
        f"{edits.deletions} del, {edits.substitutions} sub ]\n"
        f"%SER {totals.sentence_error_rate:.2f} [ {totals.num_utts_with_error} / {totals.num_eval_utts} ]\n\n"
    )


def details_txt(evaluation: Evaluation) -> Iterator[str]:
    """DETAILS.txt piece by piece: four lines per utterance, then the statistics."""
    yield from details(evaluation)
    yield statistics(evaluation.totals)


def details(evaluation: Evaluation) -> Iterator[str]:
    """What DETAILS.txt has of each of these utterances."""
    utterances = zip(evaluation.ids, evaluation.refs, evaluation.hyps, evaluation.ops, evaluation.counts)
    for utterance_id, ref, hyp, ops, counts in utterances:
        yield f'{{"uid":{utterance_id}, {_counts_text(*counts)}{aligned_rows(ref, hyp, ops)}'


@lru_cache(maxsize=CACHED)  # many utterances share their counts
def _counts_text(correct: int, substitutions: int, insertions: int, deletions: int) -> str:
    edits = Edits(correct, substitutions, insertions, deletions)
    return (
        f'"score":{0.0 - edits.errors}, "ter":{edits.rate:.2f}, "cor":{correct}, '
        f'"sub":{substitutions}, "ins":{insertions}, "del":{deletions}}}\n'
    )


def statistics(totals: Totals) -> str:
    """What DETAILS.txt ends with."""
    edits = totals.edits
    return (
        "==================== Overall Statistics ====================\n"
        f"num_ref_utts: {totals.num_ref_utts}\n"
        f"num_hyp_utts: {totals.num_hyp_utts}\n"
        f"num_hyp_without_ref: {len(totals.hyp_without_ref)}\n"
        f"num_eval_utts: {totals.num_eval_utts}\n"
        f"sentence_error_rate: {totals.sentence_error_rate:.2f}%\n"
        f"token_error_rate: {edits.rate:.2f}%\n"
        "token_stats:\n"
        f"  - tokens:{edits.tokens:>7}\n"
        f"  - edits: {edits.errors:>7}\n"
        f"  - cor:   {edits.correct:>7}\n"
        f"  - sub:   {edits.substitutions:>7}\n"
        f"  - ins:   {edits.insertions:>7}\n"
        f"  - del:   {edits.deletions:>7}\n"
        "============================================================\n\n"
    )


def aligned_rows(ref: Sequence[str], hyp: Sequence[str], ops: bytes) -> str:
    """The rows REF, HYP and EDIT; a gap is ``*``, a correct token has a blank edit."""
    cells = []
    r = h = 0
    for run in _RUNS.finditer(ops):
        if run[0].startswith(b"C"):
            tokens = with_blanks(ref[r : r + len(run[0])]) + " "
            cells.append((tokens, tokens, " " * _num_columns(tokens)))
            r, h = r + len(run[0]), h + len(run[0])
        else:
            op = run[0].decode()
            cells.append(_column(op, "*" if op == "I" else ref[r], "*" if op == "D" else hyp[h]))
            r, h = r + (op != "I"), h + (op != "D")
    refs, hyps, edits = zip(*cells) if cells else ((), (), ())
    return f"  REF  : {''.join(refs)}\n  HYP  : {''.join(hyps)}\n  EDIT : {''.join(edits)}\n"


@lru_cache(maxsize=CACHED)  # some errors are frequent
def _column(op: str, ref_token: str, hyp_token: str) -> tuple[str, str, str]:
    """The cells of an error, padded to one width."""
    widths = [_num_columns(cell) for cell in (ref_token, hyp_token)]
    ref_cell, hyp_cell = (cell + " " * (max(widths) + 1 - width) for cell, width in zip((ref_token, hyp_token), widths))
    return ref_cell, hyp_cell, op + " " * max(widths)


def _num_columns(text: str) -> int:
    # The published tool has no other wide characters (kana, full-width forms) than these.
    return len(text) + len(_NARROW.sub("", text))
