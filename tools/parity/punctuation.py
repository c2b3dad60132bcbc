"""Cases ``punc_ct_transformer`` and ``punc_vad_realtime``: logits, marks, texts, and texts of a stream."""

from __future__ import annotations

import torch

from funrecipe.model_folder import open_model_folder
from funrecipe.punctuation.punctuator import Punctuator, load_punctuator
from tools.parity.case import Case

LOGIT_TOLERANCE = 1e-4
TEXTS = {"0.7": "texts_out_0.7.0.json", "0.8": "texts_out.json"}


def utterances(case: Case) -> list[tuple[str, torch.Tensor]]:
    ids, lens = torch.from_numpy(case.inputs["ids"]), case.inputs["ids_lens"].tolist()
    return [(f"u{i}", ids[i : i + 1, :length]) for i, length in enumerate(lens)]


def compare_alone(case: Case, key: str, punctuator: Punctuator, ids: torch.Tensor, known: int = 0) -> None:
    logits = punctuator.network(ids, torch.tensor([ids.size(1)]), known)
    case.compare(f"{key}.logits", logits, LOGIT_TOLERANCE)
    case.compare(f"{key}.ids", logits.argmax(dim=-1))


def check_offline(case: Case) -> None:
    punctuator = load_punctuator(open_model_folder(case.path))
    for name, ids in utterances(case):
        compare_alone(case, name, punctuator, ids)
    ids, lens = torch.from_numpy(case.inputs["ids"]).clamp(min=0), torch.from_numpy(case.inputs["ids_lens"])
    together = punctuator.network(ids, lens)
    expected = torch.from_numpy(case.expected["batch.logits"])
    for i, length in enumerate(lens.tolist()):
        ours, theirs = together[i, :length].numpy(), expected[i, :length].numpy()
        case.compare_values(f"batch.logits row {i}", ours, theirs, LOGIT_TOLERANCE)
    case.covered("batch.logits", "compared above without the padding, which is ours to leave zero")
    for rules, name in TEXTS.items():
        for i, expected_text in enumerate(case.json(name)):
            result = punctuator.punctuate(expected_text["text"], rules)
            case.compare_values(f"{name}:{i}", result.text, expected_text["result"])
            case.compare_values(f"{name}:{i}.punc_ids", result.mark_ids, expected_text["punc_ids"])
            if rules == "0.8":
                case.compare(f"text{i}.punc_ids", result.mark_ids)
                case.compare_values(f"{name}:{i}.words", result.words, expected_text["words"])


def check_realtime(case: Case) -> None:
    punctuator = load_punctuator(open_model_folder(case.path))
    for name, ids in utterances(case):
        for known in case.inputs["vad_indexes"].tolist():
            if f"{name}.vad{known}.logits" in case.expected:
                compare_alone(case, f"{name}.vad{known}", punctuator, ids, known)
    cache: list[str] = []
    for i, expected in enumerate(case.json("texts_out.json")):
        case.compare_values(f"texts_out.json:{i}.cache_in", cache, expected["cache_in"])
        added, marks, cache = punctuator.feed(expected["text"], cache)
        case.compare_values(f"texts_out.json:{i}", added, expected["result"])
        case.compare_values(f"texts_out.json:{i}.punc_list", marks, expected["punc_list"])
        case.compare_values(f"texts_out.json:{i}.cache_out", cache, expected["cache_out"])
        case.compare(f"text{i}.punc_ids", [punctuator.marks.index(mark) for mark in marks])


CASES = {"punc_ct_transformer": check_offline, "punc_vad_realtime": check_realtime}
