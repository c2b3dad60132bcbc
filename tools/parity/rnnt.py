"""Golden checks of the RNN transducer: encoder in three ways, prediction, joint, searches, streaming."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from funrecipe.decode.transducer_search import TransducerHypothesis, TransducerOptions, TransducerSearch
from funrecipe.models.chunk_conformer import MIN_LAST_FRAMES
from funrecipe.models.transducer import TransducerModel
from tools.parity.case import Case
from tools.parity.paraformer import load_model

ENCODER_TOLERANCE, LOG_PROB_TOLERANCE, SCORE_TOLERANCE = 1e-4, 1e-4, 1e-3
JOINT_FRAMES = 6
ALSD_MAX_LABELS = 30  # the vectors' u_max; no file says so, but their lengths do


def search_options(name: str) -> TransducerOptions:
    """``full_tsd_beam4``, ``full_beam10_norm``, ``beam5`` -> options."""
    parts = name.split("_")
    beam = next(int(part.removeprefix("beam")) for part in parts if part.startswith("beam"))
    kind = next((part for part in parts if part in ("tsd", "alsd", "maes")), "default")
    return TransducerOptions(beam, kind, score_norm="norm" in parts, max_labels=ALSD_MAX_LABELS)


def compare_nbest(case: Case, prefix: str, found: list[TransducerHypothesis]) -> None:
    size = len(case.expected[f"{prefix}.nbest_score"])
    ids = np.full((min(size, len(found)), max(len(hyp.tokens) for hyp in found[:size])), -1)
    for row, hyp in enumerate(found[:size]):
        ids[row, : len(hyp.tokens)] = hyp.tokens
    case.compare(f"{prefix}.nbest_yseq", ids)
    case.compare(f"{prefix}.nbest_score", [hyp.score for hyp in found[:size]], SCORE_TOLERANCE)
    case.compare(f"{prefix}.token_int", [token for token in found[0].tokens if token != 0])


def check_stream(case: Case, model: TransducerModel, name: str, row: int, feats: Tensor) -> None:
    """FunASR's loop: whole chunks, then what is left, padded to ``last_chunk_length``."""
    conf = case.yaml("streaming.yaml")
    right = conf["right_context"]
    step = (conf["chunk_size"] + right) * model.encoder.embed.factor
    least = MIN_LAST_FRAMES + right
    case.compare("stream.frames_per_step", [step])
    case.compare("stream.last_chunk_length", [least])
    whole = feats.size(1) // step * step
    chunks = [feats[:, start : start + step + right] for start in range(0, whole, step)] + [feats[:, whole:]]
    chunks[-1] = torch.nn.functional.pad(chunks[-1], (0, 0, 0, max(0, least - chunks[-1].size(1))))
    search, cache = TransducerSearch(model, search_options(name)), model.encoder.start(conf["left_context"])
    beam, outputs, lengths = search.start(), [], []
    for number, chunk in enumerate(chunks):
        cache.seen_frames = number * conf["chunk_size"]  # FunASR's count, which differs where right_context > 0
        outputs.append(model.encoder.step(chunk, cache, right))
        beam = search.advance(beam, outputs[-1][0])
        lengths.append(len(max(beam, key=lambda hyp: hyp.score).tokens) - 1)
    prefix = f"stream.{name}.u{row}"
    compare_nbest(case, prefix, search.results(beam))
    case.compare(f"{prefix}.partial_best_lengths", lengths[:-1])
    if f"{prefix}.chunk_frames" in case.expected:
        case.compare(f"{prefix}.chunk_frames", [out.size(1) for out in outputs])
    if name == "beam1":
        case.compare(f"stream.u{row}.encoder_out_chunks", torch.cat(outputs, dim=1), ENCODER_TOLERANCE)


def check(case: Case) -> None:
    model = load_model(case)
    feats, lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    whole, chunked, out_lens = model.encoder.forward_unified(feats, lens)
    valid = (torch.arange(whole.size(1)) < out_lens.unsqueeze(1)).numpy()[:, :, None]
    for name, ours in (("utt", whole), ("chunk", chunked)):
        key = f"batch.encoder_out_{name}"
        # frames past the length are zeros here and left-overs in FunASR
        case.compare_values(key, ours.numpy() * valid, case.expected[key] * valid, ENCODER_TOLERANCE, "valid frames")
    case.compare("batch.encoder_out_lens", out_lens)
    for row, frames in enumerate(lens.tolist()):
        check_utterance(case, model, row, feats[row : row + 1, :frames], lens[row : row + 1])


def check_utterance(case: Case, model: TransducerModel, row: int, feats: Tensor, lens: Tensor) -> None:
    """Encoder, prediction, joint, every search and every stream of one utterance alone."""
    full, _ = model.encode(feats, lens)
    simulated, _ = model.encoder.forward_chunked(feats, lens, case.yaml("streaming.yaml")["chunk_size"])
    prefix = torch.from_numpy(case.inputs["prefix"][row : row + 1])
    case.compare(f"u{row}.encoder_out_full", full, ENCODER_TOLERANCE)
    case.compare(f"u{row}.encoder_out_simu_chunk", simulated, ENCODER_TOLERANCE)
    prediction, _ = model.decoder(prefix)
    case.compare(f"u{row}.prediction_out", prediction, ENCODER_TOLERANCE)
    joint = model.joint_network(full[:, :JOINT_FRAMES, None], prediction[:, None])
    case.compare(f"u{row}.joint_log_probs", joint.log_softmax(dim=-1), LOG_PROB_TOLERANCE)
    for kind, name, number in sorted({tuple(key.split(".")[:3]) for key in case.expected if ".nbest_score" in key}):
        if number != f"u{row}":
            continue
        if kind == "stream":
            check_stream(case, model, name, row, feats)
        else:
            search = TransducerSearch(model, search_options(name))
            frames = simulated if name.startswith("simu") else full
            compare_nbest(case, f"search.{name}.u{row}", search.results(search.advance(search.start(), frames[0])))


CASES = {"rnnt": check}
