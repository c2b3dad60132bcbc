"""SpeechIO's protocol: ``DETAILS.txt`` and ``RESULTS.txt`` with the bytes of its ``error_rate_zh``, faults included.

What the published tool leaves out silently (references without a hypothesis, hypotheses whose reference is blank,
hypotheses that are empty) is left out here too, but counted: ``Evaluation.left_out``. Layouts: SpeechColab/Leaderboard
``utils/error_rate_zh`` and ``utils/benchmark.sh``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from funrecipe.errors import DataError
from funrecipe.score.align import align_tokens, edit_ops
from funrecipe.score.scoring import Edits, tokenize_and_encode

UNIT_OF_TOKENIZER = {"whitespace": "word", "char": "char"}


@dataclass(frozen=True)
class Evaluation:
    """Utterances that the published tool would score, in its order, with their alignments."""

    ids: Sequence[str]
    refs: Sequence[Sequence[str]]
    hyps: Sequence[Sequence[str]]
    ops: Sequence[bytes]
    num_ref_utts: int
    num_hyp_utts: int
    hyp_without_ref: Sequence[str]
    hyp_with_blank_ref: Sequence[str]
    ref_without_hyp: Sequence[str]

    @property
    def edits(self) -> Edits:
        return Edits(*(sum(ops.count(letter) for ops in self.ops) for letter in (b"C", b"S", b"I", b"D")))

    @property
    def num_utts_with_error(self) -> int:
        return sum(ops.count(b"C") != len(ops) for ops in self.ops)

    @property
    def sentence_error_rate(self) -> float:
        return 100.0 * self.num_utts_with_error / len(self.ids)

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


def evaluate(refs: Mapping[str, str], hyps: Mapping[str, str], tokenizer: str) -> Evaluation:
    """Align what the published tool would align; ``tokenizer`` is ``whitespace`` or ``char``.

    Raises:
        DataError: it would not score a single utterance.
    """
    blank = {i for i, text in refs.items() if not text.strip()}
    ids = [i for i in sorted(hyps) if i in refs and i not in blank]
    if not ids:
        raise DataError(
            f"SpeechIO's protocol has nothing to score: none of the {len(hyps)} non-empty hypotheses "
            f"has one of the {len(refs) - len(blank)} non-blank references",
            hint="use --protocol strict, which counts them as deletions",
        )
    ref_tokens, hyp_tokens, encoded = tokenize_and_encode(
        [refs[i] for i in ids], [hyps[i] for i in ids], UNIT_OF_TOKENIZER[tokenizer]
    )
    return Evaluation(
        ids=ids,
        refs=ref_tokens,
        hyps=hyp_tokens,
        ops=edit_ops(*encoded),
        num_ref_utts=len(refs),
        num_hyp_utts=len(hyps),
        hyp_without_ref=sorted(hyps.keys() - refs.keys()),
        hyp_with_blank_ref=sorted(hyps.keys() & blank),
        ref_without_hyp=sorted(refs.keys() - hyps.keys() - blank),
    )


def results_json(evaluation: Evaluation) -> dict[str, int | float]:
    """The first line of RESULTS.txt; the order of the keys is part of the format."""
    edits = evaluation.edits
    return {
        "num_ref_utts": evaluation.num_ref_utts,
        "num_hyp_utts": evaluation.num_hyp_utts,
        "num_eval_utts": len(evaluation.ids),
        "num_hyp_without_ref": len(evaluation.hyp_without_ref),
        "C": edits.correct,
        "S": edits.substitutions,
        "I": edits.insertions,
        "D": edits.deletions,
        "token_error_rate": edits.rate,
        "num_utts_with_error": evaluation.num_utts_with_error,
        "sentence_error_rate": evaluation.sentence_error_rate,
    }


def results_txt(evaluation: Evaluation) -> str:
    edits = evaluation.edits
    return (
        f"{json.dumps(results_json(evaluation))}\n"
        f"%WER {edits.rate:.2f} [ {edits.errors} / {edits.tokens}, {edits.insertions} ins, "
        f"{edits.deletions} del, {edits.substitutions} sub ]\n"
        f"%SER {evaluation.sentence_error_rate:.2f} [ {evaluation.num_utts_with_error} / {len(evaluation.ids)} ]\n\n"
    )


def details_txt(evaluation: Evaluation) -> Iterator[str]:
    """DETAILS.txt piece by piece: four lines per utterance, then the statistics."""
    for utterance_id, ref, hyp, ops in zip(evaluation.ids, evaluation.refs, evaluation.hyps, evaluation.ops):
        edits = Edits(*(ops.count(letter) for letter in (b"C", b"S", b"I", b"D")))
        yield (
            f'{{"uid":{utterance_id}, "score":{0.0 - edits.errors}, "ter":{edits.rate:.2f}, "cor":{edits.correct}, '
            f'"sub":{edits.substitutions}, "ins":{edits.insertions}, "del":{edits.deletions}}}\n'
        )
        yield "".join(aligned_rows(ref, hyp, ops))
    edits = evaluation.edits
    yield (
        "==================== Overall Statistics ====================\n"
        f"num_ref_utts: {evaluation.num_ref_utts}\n"
        f"num_hyp_utts: {evaluation.num_hyp_utts}\n"
        f"num_hyp_without_ref: {len(evaluation.hyp_without_ref)}\n"
        f"num_eval_utts: {len(evaluation.ids)}\n"
        f"sentence_error_rate: {evaluation.sentence_error_rate:.2f}%\n"
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


def aligned_rows(ref: Sequence[str], hyp: Sequence[str], ops: bytes) -> Iterable[str]:
    """The rows REF, HYP and EDIT; a gap is ``*``, a correct token has a blank edit."""
    rows: list[list[str]] = [["  REF  : "], ["  HYP  : "], ["  EDIT : "]]
    for op, ref_token, hyp_token in align_tokens(ref, hyp, ops):
        cells = (ref_token or "*", hyp_token or "*", "" if op == "C" else op)
        widths = [_columns(cell) for cell in cells]
        for row, cell, width in zip(rows, cells, widths):
            row.append(cell + " " * (max(widths) + 1 - width))
    return ("".join(row) + "\n" for row in rows)


def _columns(cell: str) -> int:
    # The published tool has no other wide characters (kana, full-width forms) than these.
    return sum(2 if "\u4e00" <= character <= "\u9fa5" else 1 for character in cell)
