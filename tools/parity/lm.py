"""Golden checks of the Transformer and the recurrent language model."""

from __future__ import annotations

import torch
from torch import Tensor

from funrecipe.models.lm import LanguageModel, build_language_model
from funrecipe.models.special_ids import SOS_ID
from tools.parity.case import Case

LOG_PROB_TOLERANCE = 1e-4
SENTENCE_TOLERANCE = 1e-3


def load_lm(case: Case) -> LanguageModel:
    """The ``lm.yaml`` and ``lm.pb`` of a case."""
    config = case.yaml("lm.yaml")
    model = build_language_model(config, 0, len(config["token_list"])).eval()
    model.load_state_dict(torch.load(case.path / "lm.pb", weights_only=True))
    return model


def step_log_probs(model: LanguageModel, tokens: Tensor) -> Tensor:
    """Next-token log-probabilities (U + 1, V) token by token, with state, as a search asks for them."""
    state = model.lm.start(1, tokens.device)
    rows = []
    for token in [SOS_ID, *tokens.tolist()]:
        log_probs, state = model.lm.step(torch.tensor([[token]]), state)
        rows.append(log_probs[0, 0])
    return torch.stack(rows)


def check(case: Case) -> None:
    model = load_lm(case)
    text, text_lens = torch.from_numpy(case.inputs["text"]), torch.from_numpy(case.inputs["text_lens"])
    nll, lens = model.nll(text, text_lens)
    loss = nll.sum() / lens.sum()
    case.compare("nll", nll, LOG_PROB_TOLERANCE)
    case.compare("nll_lens", lens)
    case.compare("loss", loss[None], LOG_PROB_TOLERANCE, relative=True)
    case.compare("ppl_batch", loss.exp()[None], LOG_PROB_TOLERANCE, relative=True)
    for number, size in enumerate(text_lens.tolist()):
        alone, alone_lens = text[number : number + 1, :size], text_lens[number : number + 1]
        nll, _ = model.nll(alone, alone_lens)
        case.compare(f"u{number}.nll", nll, LOG_PROB_TOLERANCE)
        case.compare(f"u{number}.ppl", (nll.sum(1) / (alone_lens + 1)).exp(), LOG_PROB_TOLERANCE, relative=True)
        case.compare(f"u{number}.logprob", -nll.sum(1), SENTENCE_TOLERANCE)
        case.compare(f"u{number}.step_log_probs", step_log_probs(model, alone[0]), LOG_PROB_TOLERANCE)


CASES = {"lm_transformer": check, "lm_rnn": check}
