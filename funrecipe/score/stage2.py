"""Stage 2: ``text.cer``, a JSON file next to it, and the other outputs asked for, under the strict protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from funrecipe.files import write_json
from funrecipe.score.align import total_errors
from funrecipe.score.export import write_json_lines, write_trn
from funrecipe.score.options import ScoreOptions
from funrecipe.score.read import read_sides
from funrecipe.score.scoring import (
    compose,
    cover,
    percent,
    require_reference_tokens,
    score_normalized,
    tokenize_and_encode,
)
from funrecipe.score.side_information import SideInformation
from funrecipe.score.summary import analysis_json, lines_about, summary_json
from funrecipe.score.text_cer import summary_lines, write_text_cer


def score_strict(options: ScoreOptions, *, side_of: Callable[[Sequence[str]], SideInformation]) -> Iterator[str]:
    """Score two files, write the files that are named, return human-readable lines.

    Args:
        side_of: returns what else is known about the utterances of these ids.

    Raises:
        DataError: after the lines, where the references have no token.
    """
    refs, hyps = read_sides(options.ref, options.hyp)
    scoring = score_normalized(
        refs,
        hyps,
        profile_name=options.profile,
        unit=options.tokens or "mixed",
        missing_policy=options.missing or "strict",
    )
    del refs, hyps  # the scoring holds what is needed; of a million utterances these are 400 MB
    side = side_of(scoring.ids)
    summary = summary_json(scoring, options.meta)
    if options.detail == "full":
        summary["analysis"] = analysis_json(scoring, side)
    if options.out:
        write_text_cer(options.out, scoring)
        if not options.out.startswith("/dev/"):  # nothing can be written next to /dev/stdout
            write_json(f"{options.out}.json", summary)
    if options.jsonl:
        write_json_lines(options.jsonl, scoring)
    if options.trn_dir:
        write_trn(options.trn_dir, scoring, side.speaker_of)
    warning = filter(None, [scoring.coverage.warning])
    yield from [*summary_lines(scoring), *lines_about(summary), scoring.coverage.line(), *warning]
    require_reference_tokens(scoring.edits.tokens, scoring.edits.insertions, scoring.coverage.scored)


def total_lines(options: ScoreOptions) -> list[str]:
    """The error rate alone, without the kinds of errors: the fastest."""
    refs, hyps = read_sides(options.ref, options.hyp)
    ids, coverage = cover(refs, hyps, options.missing or "strict")
    ref_texts, hyp_texts = ([compose(side.get(i, "").lower()) for i in ids] for side in (refs, hyps))
    _, _, encoded = tokenize_and_encode(ref_texts, hyp_texts, options.tokens or "mixed")
    errors, tokens = int(total_errors(*encoded).sum()), sum(map(len, encoded[0]))
    require_reference_tokens(tokens, errors, coverage.scored)
    rate = f"%WER {percent(errors, tokens):.2f} [ {errors} / {tokens} ]"
    return [line for line in (rate, coverage.warning, coverage.line()) if line]
