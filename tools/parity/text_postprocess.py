"""Case ``text_postprocess``: tokens to words, with and without time stamps."""

from __future__ import annotations

from funrecipe.text.postprocess import postprocess
from tools.parity.case import Case


def check_text_postprocess(case: Case) -> None:
    for i, (tokens, expected) in enumerate(zip(case.json("cases_in.json"), case.json("cases_out.json"), strict=True)):
        sentence = postprocess(tokens)
        ours = {"sentence": sentence.text, "words": sentence.words, "recipe_text": " ".join(sentence.words)}
        case.compare_values(f"case{i}", ours, {key: expected[key] for key in ours})
        if "with_timestamp" not in expected:
            continue
        theirs, key = expected["with_timestamp"], f"case{i}.with_timestamp"
        timed = postprocess(tokens, expected["timestamp_in"])
        if "error" in theirs:
            case.compare_values(key, timed.words, sentence.words, note=f"FunASR raises {theirs['error']} (README, 14)")
            continue
        ours = {"sentence": " ".join(timed.words), "timestamp": timed.timestamp_ms, "words": timed.words}
        case.compare_values(key, ours, theirs)
    for key in case.expected:  # io.npz only counts the cases
        case.covered(key, "not an output of the post-processing")


CASES = {"text_postprocess": check_text_postprocess}
