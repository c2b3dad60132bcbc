"""Golden checks of Conformer and Transformer CTC/attention models and of their joint beam search."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from funrecipe.decode.beam_search import BeamHypothesis, BeamOptions
from funrecipe.decode.ctc_attention import joint_search
from funrecipe.decode.scorers import LMScorer
from funrecipe.models.ctc_attention import CTCAttentionModel
from funrecipe.models.lm import LanguageModel
from tools.parity.case import Case
from tools.parity.lm import load_lm
from tools.parity.paraformer import load_frontend, load_model, padding_as_in_funasr

ENCODER_TOLERANCE, LOG_PROB_TOLERANCE, SCORE_TOLERANCE = 1e-4, 1e-4, 1e-3
SETTING = re.compile(r"(beam|ctc|pen|lm|maxlen|minlen)(-?[\d.]+)$")


def parse_search(name: str) -> dict[str, float]:
    """``beam5_ctc0.3_pen0.2_lm0.3`` -> its numbers by name."""
    found = [SETTING.match(part) for part in name.split("_")]
    if not all(found):
        raise ValueError(f"cannot read the settings of the search '{name}'")
    return {match[1]: float(match[2]) for match in found}


def beam_options(settings: dict[str, float]) -> BeamOptions:
    return BeamOptions(
        beam_size=int(settings["beam"]),
        ctc_weight=settings.get("ctc", 0.0),
        penalty=settings.get("pen", 0.0),
        maxlenratio=settings.get("maxlen", 0.0),
        minlenratio=settings.get("minlen", 0.0),
    )


def fusion_of(settings: dict[str, float], lm: LanguageModel | None) -> list[LMScorer]:
    return [LMScorer(lm.lm, settings["lm"], torch.device("cpu"))] if "lm" in settings else []


def run_search(
    model: CTCAttentionModel, lm: LanguageModel | None, encoder_out: Tensor, lens: Tensor, name: str
) -> list[list[BeamHypothesis]]:
    """Every ended hypothesis of each utterance for the search a golden array is named after."""
    settings = parse_search(name)
    options = beam_options(settings)
    return joint_search(model, encoder_out, lens, options, fusion_of(settings, lm))


def compare_nbest(case: Case, prefix: str, found: list[BeamHypothesis], note: str = "") -> None:
    """The n-best arrays under ``prefix``: ids exactly, scores within the tolerance."""
    size = len(case.expected[f"{prefix}.nbest_score"])
    best = found[:size]
    width = case.expected[f"{prefix}.nbest_yseq"].shape[1]
    ids = np.full((len(best), max(width, max((len(h.tokens) for h in best), default=0))), -1, dtype=np.int64)
    for row, hyp in enumerate(best):
        ids[row, : len(hyp.tokens)] = hyp.tokens
    case.compare(f"{prefix}.nbest_yseq", ids, note=note)
    case.compare(f"{prefix}.nbest_score", [h.score for h in best], SCORE_TOLERANCE, note=note)
    for name in ("decoder", "ctc", "lm", "length_bonus"):
        if f"{prefix}.nbest_{name}" in case.expected:
            case.compare(f"{prefix}.nbest_{name}", [h.scores[name] for h in best], SCORE_TOLERANCE, note=note)
    if f"{prefix}.n_ended" in case.expected:
        case.compare(f"{prefix}.n_ended", [len(found)], note=note)
    if f"{prefix}.token_int" in case.expected:
        case.compare(f"{prefix}.token_int", text_ids(best[0]), note=note)


def text_ids(hyp: BeamHypothesis) -> list[int]:
    """Ids between the first token and the last, without blanks, as FunASR cuts them."""
    return [token for token in hyp.tokens[1:-1] if token != 0]


def compare_forward(case: Case, model: CTCAttentionModel, group: str, rows: slice) -> tuple[Tensor, Tensor]:
    """Encoder, CTC and decoder arrays of one group; returns the encoder output."""
    lens = torch.from_numpy(case.inputs["feats_lens"][rows])
    feats = torch.from_numpy(case.inputs["feats"][rows])[:, : int(lens.max())]
    prefix = torch.from_numpy(case.inputs["prefix"][rows])
    encoder_out, encoder_out_lens = model.encode(feats, lens)
    ctc = model.ctc.log_probs(encoder_out)
    logits = model.decoder(encoder_out, encoder_out_lens, prefix, torch.full((len(prefix),), prefix.size(1)))
    case.compare(f"{group}.encoder_out", encoder_out, ENCODER_TOLERANCE)
    case.compare(f"{group}.encoder_out_lens", encoder_out_lens)
    case.compare(f"{group}.ctc_log_probs", ctc, LOG_PROB_TOLERANCE)
    case.compare(f"{group}.decoder_log_probs", logits.log_softmax(dim=-1), LOG_PROB_TOLERANCE)
    if f"{group}.ctc_argmax" in case.expected:
        case.compare(f"{group}.ctc_argmax", ctc.argmax(-1))
    return encoder_out, encoder_out_lens


def check(case: Case) -> None:
    model = load_model(case)
    count = len(case.inputs["feats_lens"])
    with padding_as_in_funasr(model):
        compare_forward(case, model, "batch", slice(0, count))
    alone = [compare_forward(case, model, f"u{i}", slice(i, i + 1)) for i in range(count)]
    feats, lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    batch_out, batch_lens = model.encode(feats, lens)
    for i, (encoder_out, encoder_out_lens) in enumerate(alone):
        ours = batch_out[i, : int(batch_lens[i])]
        case.compare_values(f"batch_is_alone.u{i}", ours, encoder_out[0], ENCODER_TOLERANCE)
        case.compare_values(f"batch_is_alone.u{i}.lens", batch_lens[i : i + 1].tolist(), encoder_out_lens.tolist())
    check_searches(case, model, batch_out, batch_lens)
    check_from_waveform(case, model)


def search_names(case: Case) -> list[str]:
    """``beam5_ctc0.3`` of every ``search.beam5_ctc0.3.u<i>.*``."""
    return sorted({key.split(".u")[0].removeprefix("search.") for key in case.expected if key.startswith("search.")})


def check_searches(case: Case, model: CTCAttentionModel, encoder_out: Tensor, lens: Tensor) -> None:
    """Every ``search.*`` array, the utterances searched together."""
    names = search_names(case)
    lm = load_lm(case) if (case.path / "lm.yaml").is_file() else None
    for name in names:
        for row, found in enumerate(run_search(model, lm, encoder_out, lens, name)):
            if f"search.{name}.u{row}.nbest_score" in case.expected:
                compare_nbest(case, f"search.{name}.u{row}", found)


def check_from_waveform(case: Case, model: CTCAttentionModel) -> None:
    """``e2e_<search>.wav<i>.*``: front-end, encoder and search."""
    found = sorted({tuple(key.split(".wav")) for key in case.expected if key.startswith("e2e_")})
    frontend = load_frontend(case)
    for name, rest in found:
        number, _, kind = rest.partition(".")
        if kind != "token_int":
            continue
        wave = torch.from_numpy(case.waveform(f"wav{number}"))[None]
        feats, lens = frontend(wave, torch.tensor([wave.size(1)]))
        best = run_search(model, None, *model.encode(feats, lens), name.removeprefix("e2e_"))[0][0]
        case.compare(f"{name}.wav{number}.token_int", text_ids(best))
        case.compare(f"{name}.wav{number}.score", [best.score], SCORE_TOLERANCE)


CASES = {"conformer": check, "transformer": check}
