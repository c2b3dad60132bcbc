"""Case ``uniasr``: both passes in every mode, and the SCAMA beam search."""

from __future__ import annotations

import re

import torch
from torch import Tensor
from torch.nn import functional as F

from funrecipe.decode.beam_search import BeamOptions
from funrecipe.decode.uniasr import GARBAGE, MODES, scama_search
from funrecipe.models.sanm_chunk import Pass
from funrecipe.models.uniasr import ScamaDecoder, UniASR
from tools.parity.case import Case
from tools.parity.online import load_model

BLANK_ID = 0


def check_uniasr(case: Case) -> None:
    model = load_model(case)
    garbage = {i for i, token in enumerate(case.json("tokens.json")) if token == GARBAGE}
    feats, lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    modes = sorted({key.split(".")[0] for key in case.expected if re.match(r"[^.]+\.u\d+\.scama_mask", key)})
    for mode in modes:
        decoder, batch = run_mode(model, mode, feats, lens)
        for u in range(len(feats)):
            _, alone = run_mode(model, mode, feats[u : u + 1, : int(lens[u])], lens[u : u + 1])
            check_pass(case, f"{mode}.u{u}", alone)
            if f"{mode}.u{u}.encoder1_out_unchunked" in case.expected:
                shape_index, _ = shape_and_pass(mode)
                encoder_out, _ = model.encode(feats[u : u + 1, : int(lens[u])], lens[u : u + 1], shape_index)
                case.compare(f"{mode}.u{u}.encoder1_out_unchunked", encoder_out, 1e-4)
        check_searches(case, mode, decoder, batch, garbage)


def shape_and_pass(mode: str) -> tuple[int, int]:
    """(chunk shape, pass) of a mode of the recipes, or of ``x_ind1_model1`` and the like."""
    if match := re.fullmatch(r"\w*ind(\d+)_model(\d)", mode):
        return int(match[1]), int(match[2])
    return MODES[mode]


def run_mode(model: UniASR, mode: str, feats: Tensor, lens: Tensor) -> tuple[ScamaDecoder, Pass]:
    shape_index, number = shape_and_pass(mode)
    if number == 1:
        return model.decoder, model.first_pass(feats, lens, shape_index)
    return model.decoder2, model.second_pass(feats, lens, shape_index)


def check_pass(case: Case, prefix: str, passed: Pass) -> None:
    encoder = "encoder" if f"{prefix}.encoder_out_chunked" in case.expected else "encoder2"
    case.compare(f"{prefix}.{encoder}_out_chunked", passed.encoder_out, 1e-4)
    case.compare(f"{prefix}.{encoder}_out_lens", passed.layout.lens)
    case.compare(f"{prefix}.alphas", passed.cif.alphas, 1e-4)
    case.compare(f"{prefix}.acoustic_embeds", passed.cif.embeds, 1e-4)
    case.compare(f"{prefix}.token_num", passed.cif.token_num, 1e-3)
    fires = passed.layout.firing_positions(passed.cif.alphas, passed.token_lens)
    case.compare(f"{prefix}.alignments", F.one_hot(fires, passed.encoder_out.size(1)).sum(dim=1))
    case.compare(f"{prefix}.alignments_lens", passed.token_lens)
    case.compare(f"{prefix}.scama_mask", passed.attention_mask.float())


def check_searches(case: Case, mode: str, decoder: ScamaDecoder, batch: Pass, garbage: set[int]) -> None:
    """All searches of a mode, both utterances in one batch."""
    pattern = rf"search\.{mode}\.beam(\d+)(?:_relax(\d+))?(?=\.)"
    for name, beam, relax in sorted(
        {(m[0], m[1], m[2]) for key in case.expected if (m := re.match(pattern, key))}, key=str
    ):
        nbests = scama_search(decoder, batch, BeamOptions(int(beam)), int(relax or 1))
        for u, hyps in enumerate(nbests):
            prefix = f"{name}.u{u}"
            if f"{prefix}.nbest_score" not in case.expected:
                continue
            hyps = hyps[: len(case.expected[f"{prefix}.nbest_score"])]
            width = max((len(hyp.tokens) for hyp in hyps), default=0)
            case.compare(
                f"{prefix}.nbest_yseq", torch.tensor([h.tokens + [-1] * (width - len(h.tokens)) for h in hyps])
            )
            case.compare(f"{prefix}.nbest_score", torch.tensor([h.score for h in hyps]), 1e-3)
            case.compare(f"{prefix}.nbest_decoder", torch.tensor([h.scores["decoder"] for h in hyps]), 1e-3)
            token_int = [i for i in hyps[0].tokens[1:-1] if i != BLANK_ID]
            case.compare(f"{prefix}.token_int", torch.tensor(token_int))
            case.compare(f"{prefix}.text_ids", torch.tensor([i for i in token_int if i not in garbage]))


CASES = {"uniasr": check_uniasr}
