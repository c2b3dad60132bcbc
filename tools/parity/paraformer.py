"""Cases ``paraformer``, ``paraformer_ctc``, ``conformer_paraformer``: every step of recognition, alone and batched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from funrecipe.audio.frontend import WavFrontend
from funrecipe.checkpoint import load_weights
from funrecipe.models.cif import CifOutput
from funrecipe.models.paraformer import Paraformer
from funrecipe.models.registry import build_model
from tools.parity.case import Case
from tools.parity.frontend import padded

FLOAT_TOLERANCE = 1e-4
SCORE_TOLERANCE = 1e-3


def load_model(case: Case, **changes: object) -> torch.nn.Module:
    """The case's model with its weights, in eval mode; ``changes`` replace keys of the configuration."""
    config = case.yaml("config.yaml") | changes
    model = build_model(config, len(config["token_list"])).eval()
    load_weights(model, case.path / "model.pb")
    return model


def load_frontend(case: Case) -> WavFrontend:
    return WavFrontend.from_config(case.yaml("config.yaml")["frontend_conf"], case.path / "am.mvn").eval()


def groups_of(case: Case) -> list[tuple[str, Tensor, Tensor]]:
    """(name, feats, feat_lens) of ``batch`` and of every utterance ``u<i>`` alone that the case has."""
    feats, lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    groups = [("batch", feats, lens)]
    for i in range(len(lens)):
        if any(key.startswith(f"u{i}.") for key in case.expected):
            groups.append((f"u{i}", feats[i : i + 1, : lens[i]], lens[i : i + 1]))
    return groups


@contextmanager
def padding_as_in_funasr(model: torch.nn.Module) -> Iterator[None]:
    """FunASR lets padding leak into the shorter rows of a batch (README, fact 2); do the same for a comparison."""
    parts = [part for part in model.modules() if hasattr(part, "pad_invariant")]
    for part in parts:
        part.pad_invariant = False
    try:
        yield
    finally:
        for part in parts:
            part.pad_invariant = True


def scores_of(log_probs: Tensor, token_lens: Tensor) -> Tensor:
    """Sum over the predicted positions of the largest log-probability."""
    best = log_probs.max(dim=-1).values
    return (best * (torch.arange(best.size(1)) < token_lens[:, None])).sum(dim=1)


def check_group(case: Case, model: Paraformer, name: str, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, CifOutput]:
    """Every array of one group; what the encoder and the predictor gave."""
    encoder_out, encoder_out_lens = model.encode(feats, feat_lens)
    cif = model.predict(encoder_out, encoder_out_lens)
    case.compare(f"{name}.encoder_out", encoder_out, FLOAT_TOLERANCE)
    case.compare(f"{name}.encoder_out_lens", encoder_out_lens)
    case.compare(f"{name}.alphas", cif.alphas, FLOAT_TOLERANCE)
    case.compare(f"{name}.cif_peak", cif.peaks, FLOAT_TOLERANCE)
    case.compare(f"{name}.token_num", cif.token_num)
    case.compare(f"{name}.acoustic_embeds", cif.embeds, FLOAT_TOLERANCE)
    if f"{name}.ctc_log_probs" in case.expected:
        case.compare(f"{name}.ctc_log_probs", model.ctc.log_probs(encoder_out), FLOAT_TOLERANCE)
    if f"{name}.decoder_log_probs" in case.expected:
        token_lens = cif.token_num.long()
        check_decoder(case, name, model.decode(encoder_out, encoder_out_lens, cif.embeds, token_lens), token_lens)
    return encoder_out, cif


def check_decoder(
    case: Case, name: str, log_probs: Tensor, token_lens: Tensor, tolerance: float = FLOAT_TOLERANCE
) -> None:
    """Log-probabilities, their arg-max and the score of a hypothesis."""
    case.compare(f"{name}.decoder_log_probs", log_probs, tolerance)
    behind = torch.arange(log_probs.size(1)) >= token_lens[:, None]
    case.compare(f"{name}.argmax_ids", log_probs.argmax(dim=-1).masked_fill(behind, -1))
    case.compare(f"{name}.score", scores_of(log_probs, token_lens), SCORE_TOLERANCE)


def check_alone_equals_batch(case: Case, model: Paraformer) -> None:
    """What FunASR does not do: the batch gives every utterance what it gets alone. Fails the case if it does not."""
    feats, feat_lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    log_probs, token_lens = model(feats, feat_lens)
    for i, (frames, tokens) in enumerate(zip(feat_lens.tolist(), token_lens.tolist())):
        alone, _ = model(feats[i : i + 1, :frames], feat_lens[i : i + 1])
        case.compare_values(
            f"(batch row {i} = alone)", log_probs[i, :tokens].numpy(), alone[0].numpy(), FLOAT_TOLERANCE
        )


def check_end_to_end(case: Case, model: Paraformer) -> None:
    frontend = load_frontend(case)
    for key in case.expected:
        if match := re.fullmatch(r"e2e\.(wav\d+)\.token_int", key):
            wave = match[1]
            log_probs, _ = model(*frontend(*padded([case.inputs[wave]])))
            ids = [i for i in log_probs[0].argmax(dim=-1).tolist() if i not in (0, 2)]
            case.compare(key, ids)
            case.compare(f"e2e.{wave}.score", scores_of(log_probs, torch.tensor([log_probs.size(1)])), SCORE_TOLERANCE)


def check_paraformer(case: Case) -> None:
    model = load_model(case)
    with padding_as_in_funasr(model):
        for name, feats, feat_lens in groups_of(case):
            check_group(case, model, name, feats, feat_lens)
    check_alone_equals_batch(case, model)
    check_end_to_end(case, model)


CASES = {"paraformer": check_paraformer, "paraformer_ctc": check_paraformer, "conformer_paraformer": check_paraformer}
