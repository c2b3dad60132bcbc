"""Stage 3: normalize both sides, score as SpeechIO does, and show what the strict protocol gives.

``RESULTS.txt`` and ``DETAILS.txt`` hold the bytes of the published tool. Wherever its number differs from a strict one,
the latter is shown too, on the terminal, in ``RESULTS.strict.txt`` and in ``RESULTS.json``: every reference counts (the
tool leaves out missing and empty hypotheses and blank references), with the same normalization and with the correct
one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from funrecipe import __version__
from funrecipe.data.in_order import look_over
from funrecipe.data.texts import read_texts, text_blocks, texts_as_listed
from funrecipe.errors import FunrecipeError
from funrecipe.files import atomic_write, write_json, write_text
from funrecipe.score.options import ScoreOptions
from funrecipe.score.scoring import score_part
from funrecipe.score.speechio import Totals, details, evaluate_part, results_json, results_txt, statistics, sum_totals
from funrecipe.score.stream import ScoreSum, text_parts
from funrecipe.score.summary import summary_json
from funrecipe.score.text_cer import summary_lines
from funrecipe.text.normalize import Profile, get_profile


def score_speechio(options: ScoreOptions) -> list[str]:
    """Write ``ref.txt DETAILS.txt RESULTS.txt RESULTS.json`` (and ``RESULTS.strict.txt``); return readable lines.

    Raises:
        UsageError: unknown profile.
        DataError: nothing can be scored under SpeechIO's protocol; nothing is written.
    """
    profile = get_profile(options.profile or "speechio")
    out_dir = Path(str(options.out_dir))
    is_new = not out_dir.exists()
    try:
        totals, strict, strict_texts = _score(str(options.ref), str(options.hyp), profile, out_dir)
    except FunrecipeError:
        if is_new:
            with contextlib.suppress(OSError):
                out_dir.rmdir()
        raise
    results = results_txt(totals)
    write_text(out_dir / "RESULTS.txt", results)
    write_json(
        out_dir / "RESULTS.json",
        {
            "profile": {"name": profile.name, "version": profile.version},
            "speechio": {**results_json(totals), **_left_out_json(totals)},
            "strict": summary_json(strict, {}),
            "strict_profile": summary_json(strict_texts, {}),
            "funrecipe_version": __version__,
            "meta": dict(options.meta),
        },
    )
    lines = [results.rstrip("\n"), f"normalization profile: {strict.normalization}"]
    strict_path = out_dir / "RESULTS.strict.txt"
    beside = [scoring for scoring in (strict, strict_texts) if not _agree(totals, scoring)]
    if not beside:
        strict_path.unlink(missing_ok=True)
        return lines
    if len(beside) == 2 and strict.edits == strict_texts.edits:
        beside = [strict]
    strict_lines = [line for scoring in beside for line in _strict_lines(scoring)]
    write_text(strict_path, "\n".join([*strict_lines, ""]))
    return [*lines, *filter(None, [totals.left_out()]), *strict_lines]


def _score(ref: str, hyp: str, profile: Profile, out_dir: Path) -> tuple[Totals, ScoreSum, ScoreSum]:
    """Write ``ref.txt`` and ``DETAILS.txt``; what the published tool counts, and what is counted under the strict
    protocol with the same normalization and with the correct one."""
    held = None
    if not Path(ref).is_file():  # a pipe can be read only once
        held = {key: text.strip() for key, text in read_texts(ref, may_be_pipe=True).items()}
    is_in_order = held is None and look_over(ref)[0]
    score = partial(score_part, unit="char", missing_policy="strict")
    normalized = partial(score, lower_case=False, normalization=profile.label)
    strict = get_profile("strict")
    correct = partial(score, normalization=strict.label)
    sum_normalized, sum_correct, parts = ScoreSum(normalized({}, {})), ScoreSum(correct({}, {})), list[Totals]()
    with ExitStack() as stack:
        ref_txt, details_txt = (stack.enter_context(atomic_write(out_dir / n)) for n in ("ref.txt", "DETAILS.txt"))
        all_refs = text_blocks(ref) if held is None else [(ids := sorted(held), [held[i] for i in ids])]
        for ref_texts, hyp_texts in text_parts(all_refs, text_blocks(hyp)):
            refs, hyps = profile.normalize_all(ref_texts, hyp_texts)
            kept_refs = _kept(profile, refs)
            evaluation = evaluate_part(kept_refs, {i: text for i, text in hyps.items() if text}, "char")
            sum_normalized.add(normalized(refs, hyps))
            sum_correct.add(correct(*strict.normalize_all(ref_texts, hyp_texts)))
            parts.append(evaluation.totals)
            details_txt.writelines(details(evaluation))
            if is_in_order:
                ref_txt.writelines(_ref_lines(kept_refs))
        sum_normalized.finish()
        sum_correct.finish()
        totals = sum_totals(parts)
        details_txt.write(statistics(totals))
        if not is_in_order:
            for key, text in texts_as_listed(ref) if held is None else held.items():
                ref_txt.writelines(_ref_lines(_kept(profile, {key: profile.normalize(text)})))
    return totals, sum_normalized, sum_correct


def _kept(profile: Profile, refs: dict[str, str]) -> dict[str, str]:
    """The references that the published tool sees. The newest writes no line for a text that is empty after
    normalization, that of 2023 keeps its id; both drop empty hypotheses. A text of spaces is not empty to them."""
    return {i: text for i, text in refs.items() if text} if profile.name == "speechio" else refs


def _ref_lines(refs: Mapping[str, str]) -> Iterator[str]:
    return (f"{i}\t{text}\n" for i, text in refs.items())


def _agree(totals: Totals, strict: ScoreSum) -> bool:
    return totals.edits == strict.edits and totals.num_eval_utts == strict.coverage.scored


def _strict_lines(strict: ScoreSum) -> list[str]:
    title = f"strict protocol (every reference counts), normalization profile: {strict.normalization}"
    return [title, *summary_lines(strict), strict.coverage.line()]


def _left_out_json(totals: Totals) -> dict[str, list[str]]:
    return {
        "references_without_hypothesis": list(totals.ref_without_hyp),
        "hypotheses_with_blank_reference": list(totals.hyp_with_blank_ref),
        "hypotheses_without_reference": list(totals.hyp_without_ref),
    }
