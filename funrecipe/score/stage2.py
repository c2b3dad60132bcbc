"""Stage 2: ``text.cer``, a JSON file next to it, and the other outputs asked for, under the strict protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from funrecipe.data.texts import text_blocks
from funrecipe.files import atomic_write, write_json
from funrecipe.score.align import total_errors
from funrecipe.score.export import json_lines, trn_lines
from funrecipe.score.options import ScoreOptions
from funrecipe.score.scoring import (
    Coverage,
    check_coverage,
    comparable,
    cover,
    percent,
    require_reference_tokens,
    tokenize_and_encode,
)
from funrecipe.score.side_information import SideStream
from funrecipe.score.stream import ScoreStream, sum_coverages, text_parts
from funrecipe.score.summary import Analysis, lines_about, summary_json
from funrecipe.score.text_cer import blocks, ending, summary_lines


def score_strict(options: ScoreOptions, *, side: SideStream) -> Iterator[str]:
    """Score two files, write the files that are named, return human-readable lines.

    Args:
        side: what else is known about the utterances.

    Raises:
        DataError: after the lines, where the references have no token.
    """
    out, jsonl, trn_dir = options.out, options.jsonl, options.trn_dir
    scoring = ScoreStream(
        str(options.ref),
        str(options.hyp),
        profile_name=options.profile,
        unit=options.tokens or "mixed",
        missing_policy=options.missing or "strict",
    )
    analysis = Analysis() if options.detail == "full" else None
    with ExitStack() as stack:
        trn = [Path(trn_dir, f"{name}.trn") for name in ("ref", "hyp")] if trn_dir else [None, None]
        text_cer, lines, *both_trn = (
            stack.enter_context(atomic_write(path)) if path else None for path in (out, jsonl, *trn)
        )
        for part in scoring:
            known = side.of(part.ids)
            if analysis:
                analysis.add(part, known)
            if text_cer:
                text_cer.writelines(blocks(part))
            if lines:
                lines.writelines(json_lines(part))
            for file, of_side in zip(both_trn, trn_lines(part, known.speaker_of or {}) if trn_dir else ()):
                if file:
                    file.writelines(of_side)
        side.finish()
        if text_cer:
            text_cer.write(ending(scoring))
    summary = summary_json(scoring, options.meta)
    if analysis:
        summary["analysis"] = analysis.as_json()
    if out and not out.startswith("/dev/"):  # nothing can be written next to /dev/stdout
        write_json(f"{out}.json", summary)
    warning = filter(None, [scoring.coverage.warning])
    yield from [*summary_lines(scoring), *lines_about(summary), scoring.coverage.line(), *warning]
    require_reference_tokens(scoring.edits.tokens, scoring.edits.insertions, scoring.coverage.scored)


def total_lines(options: ScoreOptions) -> list[str]:
    """The error rate alone, without the kinds of errors: the fastest."""
    unit, missing_policy = options.tokens or "mixed", options.missing or "strict"
    errors = tokens = 0
    coverages: list[Coverage] = []
    for refs, hyps in text_parts(text_blocks(str(options.ref)), text_blocks(str(options.hyp))):
        ids, coverage = cover(refs, hyps, missing_policy)
        coverages.append(coverage)
        ref_texts, hyp_texts = (comparable([side.get(i, "") for i in ids]) for side in (refs, hyps))
        _, _, encoded = tokenize_and_encode(ref_texts, hyp_texts, unit)
        errors, tokens = errors + int(total_errors(*encoded).sum()), tokens + sum(map(len, encoded[0]))
    coverage = sum_coverages(coverages)
    check_coverage(coverage, missing_policy)
    require_reference_tokens(tokens, errors, coverage.scored)
    rate = f"%WER {percent(errors, tokens):.2f} [ {errors} / {tokens} ]"
    return [line for line in (rate, coverage.warning, coverage.line()) if line]
