"""Case ``bicif_paraformer``: recognition as for Paraformer, the fine CIF head, the time of every token."""

from __future__ import annotations

import re

import torch

from funrecipe.decode.paraformer import greedy
from funrecipe.decode.timestamps import SHIFT_STEPS, Span, align, token_times_ms
from funrecipe.models.bicif_paraformer import PEAK_SLACK, CifPredictorV3, FineCif
from funrecipe.models.cif import accumulator
from tools.parity.case import Case
from tools.parity.frontend import padded
from tools.parity.paraformer import (
    FLOAT_TOLERANCE,
    SCORE_TOLERANCE,
    check_alone_equals_batch,
    check_group,
    groups_of,
    load_frontend,
    load_model,
    padding_as_in_funasr,
)


def step_seconds(case: Case) -> float:
    conf = case.yaml("config.yaml")
    frame_ms = conf["frontend_conf"]["frame_shift"] * conf["frontend_conf"]["lfr_n"]
    return frame_ms / 1000 / conf["predictor_conf"]["upsample_times"]


def timed_text(tokens: list[str], spans: list[Span], *, silences: bool) -> str:
    """FunASR's string form: ``token start end;`` with five characters a number."""
    named = [(("<sil>" if s.token is None else tokens[s.token]), s) for s in spans if silences or s.token is not None]
    return "".join(f"{name} {str(s.start_s + 0.0005)[:5]} {str(s.end_s + 0.0005)[:5]};" for name, s in named)


def later(spans: list[Span], offset_ms: float) -> list[Span]:
    """The same in a recording in which the utterance begins at ``offset_ms``."""
    offset_s = offset_ms / 1000.0
    return [Span(token, start_s + offset_s, end_s + offset_s) for token, start_s, end_s in spans]


def check_timestamps(case: Case, name: str, fine: FineCif) -> None:
    """Every call recorded in timestamps.json for the utterance ``name``."""
    for key, call in case.json("timestamps.json").items():
        if key.split(".")[0] != name:
            continue
        tokens, options = call["chars"], call["kwargs"]
        tokens = tokens[:-1] if tokens and tokens[-1] == "</s>" else tokens
        shift, offset_ms = options.get("force_time_shift", SHIFT_STEPS), options.get("vad_offset", 0.0)
        spans = align(fine.alphas[0], fine.peaks[0], len(tokens), step_seconds(case), shift=shift)
        spans = later(spans, offset_ms)
        times = token_times_ms(spans)
        case.compare(f"ts.{key}", torch.tensor(times, dtype=torch.int64).reshape(-1, 2))
        case.compare_values(f"timestamps.json:{key}.list", times, call["list"])
        text = timed_text(tokens, spans, silences=options.get("sil_in_str", True))
        case.compare_values(f"timestamps.json:{key}.string", text, call["string"])
        case.compare_values(f"(one span per token: {key})", len(times), len(tokens))


def fine_head(predictor: CifPredictorV3, fine: FineCif) -> dict[str, torch.Tensor]:
    """The fine head by the names of the arrays, and its sums over each frame of the encoder."""
    coarse = fine.alphas.unflatten(1, (-1, predictor.upsample_times)).sum(dim=2)
    threshold = predictor.threshold - PEAK_SLACK
    peaks = accumulator(coarse, threshold, threshold)
    return {"us_alphas": fine.alphas, "us_cif_peak": fine.peaks, "ds_alphas": coarse, "ds_cif_peak": peaks}


def check_bicif(case: Case) -> None:
    model = load_model(case)
    with padding_as_in_funasr(model):
        for name, feats, feat_lens in groups_of(case):
            encoder_out, cif = check_group(case, model, name, feats, feat_lens)
            fine = model.predictor.fine_cif(encoder_out, feat_lens, cif.token_num)
            for part, ours in fine_head(model.predictor, fine).items():
                case.compare(f"{name}.{part}", ours, FLOAT_TOLERANCE)
            check_timestamps(case, name, fine)
    check_alone_equals_batch(case, model)
    check_fine_alone_equals_batch(case, model)
    frontend = load_frontend(case)
    for key in case.expected:
        if match := re.fullmatch(r"e2e\.(wav\d+)\.timestamp_begin(\d+)", key):
            wave, offset_ms = match[1], float(match[2])
            feats, feat_lens = frontend(*padded([case.inputs[wave]]))
            encoder_out, lens = model.encode(feats, feat_lens)
            cif = model.predict(encoder_out, lens)
            token_lens = cif.token_num.long()
            hypothesis = greedy(model.decode(encoder_out, lens, cif.embeds, token_lens), token_lens)[0]
            fine = model.predictor.fine_cif(encoder_out, lens, cif.token_num)
            step_s = step_seconds(case)
            spans = later(align(fine.alphas[0], fine.peaks[0], len(hypothesis.ids), step_s), offset_ms)
            case.compare(f"e2e.{wave}.token_int", hypothesis.ids)
            case.compare(f"e2e.{wave}.score", [hypothesis.score], SCORE_TOLERANCE)
            case.compare(key, token_times_ms(spans))


def check_fine_alone_equals_batch(case: Case, model: torch.nn.Module) -> None:
    feats, lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    together = model.predictor.fine_alphas(*model.encode(feats, lens))
    for i, length in enumerate(lens.tolist()):
        alone = model.predictor.fine_alphas(*model.encode(feats[i : i + 1, :length], lens[i : i + 1]))[0]
        case.compare_values(
            f"(fine alphas of batch row {i} = alone)", together[i, : len(alone)].numpy(), alone.numpy(), FLOAT_TOLERANCE
        )


CASES = {"bicif_paraformer": check_bicif}
