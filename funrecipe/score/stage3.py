"""Stage 3: normalize both sides, score as SpeechIO does, and show what the strict protocol gives.

``RESULTS.txt`` and ``DETAILS.txt`` hold the bytes of the published tool. Wherever its number differs from a strict one,
the latter is shown too, on the terminal, in ``RESULTS.strict.txt`` and in ``RESULTS.json``: every reference counts (the
tool leaves out missing and empty hypotheses and blank references), with the same normalization and with the correct
one.
"""

from __future__ import annotations

from pathlib import Path

from funrecipe import __version__
from funrecipe.files import write_json, write_text
from funrecipe.score.options import ScoreOptions
from funrecipe.score.read import read_sides
from funrecipe.score.scoring import Scoring, score_normalized, score_texts
from funrecipe.score.speechio import Evaluation, details_txt, evaluate, results_json, results_txt
from funrecipe.score.summary import summary_json
from funrecipe.score.text_cer import summary_lines
from funrecipe.text.normalize import get_profile


def score_speechio(options: ScoreOptions) -> list[str]:
    """Write ``ref.txt DETAILS.txt RESULTS.txt RESULTS.json`` (and ``RESULTS.strict.txt``); return readable lines.

    Raises:
        UsageError: unknown profile.
        DataError: nothing can be scored under SpeechIO's protocol; nothing is written.
    """
    ref_texts, hyp_texts = read_sides(options.ref, options.hyp)
    out_dir = Path(str(options.out_dir))
    profile = get_profile(options.profile or "speechio")
    normalization = f"{profile.name} {profile.version}"
    refs = {i: profile.normalize(text) if text else "" for i, text in ref_texts.items()}
    hyps = {i: profile.normalize(text) if text else "" for i, text in hyp_texts.items()}
    strict = score_texts(refs, hyps, unit="char", lower_case=False, normalization=normalization)
    strict_texts = score_normalized(ref_texts, hyp_texts, profile_name="strict", unit="char", missing_policy="strict")
    # The newest tool writes no line for a text that is empty after normalization, that of 2023 keeps its id;
    # both pipelines drop empty hypotheses. A text of blanks is not empty to them.
    kept_refs = {i: text for i, text in refs.items() if text} if profile.name == "speechio" else refs
    evaluation = evaluate(kept_refs, {i: text for i, text in hyps.items() if text}, "char")

    write_text(out_dir / "ref.txt", (f"{i}\t{text}\n" for i, text in kept_refs.items()))
    write_text(out_dir / "DETAILS.txt", details_txt(evaluation))
    results = results_txt(evaluation)
    write_text(out_dir / "RESULTS.txt", results)
    write_json(
        out_dir / "RESULTS.json",
        {
            "profile": {"name": profile.name, "version": profile.version},
            "speechio": {**results_json(evaluation), **_left_out_json(evaluation)},
            "strict": summary_json(strict, {}),
            "strict_profile": summary_json(strict_texts, {}),
            "funrecipe_version": __version__,
            "meta": dict(options.meta),
        },
    )
    lines = [results.rstrip("\n"), f"normalization profile: {normalization}"]
    strict_path = out_dir / "RESULTS.strict.txt"
    beside = [scoring for scoring in (strict, strict_texts) if not _agree(evaluation, scoring)]
    if not beside:
        strict_path.unlink(missing_ok=True)
        return lines
    if len(beside) == 2 and strict.edits == strict_texts.edits:
        beside = [strict]
    strict_lines = [line for scoring in beside for line in _strict_lines(scoring)]
    write_text(strict_path, "\n".join([*strict_lines, ""]))
    return [*lines, *filter(None, [evaluation.left_out()]), *strict_lines]


def _agree(evaluation: Evaluation, strict: Scoring) -> bool:
    return evaluation.edits == strict.edits and len(evaluation.ids) == strict.coverage.scored


def _strict_lines(strict: Scoring) -> list[str]:
    title = f"strict protocol (every reference counts), normalization profile: {strict.normalization}"
    return [title, *summary_lines(strict), strict.coverage.line()]


def _left_out_json(evaluation: Evaluation) -> dict[str, list[str]]:
    return {
        "references_without_hypothesis": list(evaluation.ref_without_hyp),
        "hypotheses_with_blank_reference": list(evaluation.hyp_with_blank_ref),
        "hypotheses_without_reference": list(evaluation.hyp_without_ref),
    }
