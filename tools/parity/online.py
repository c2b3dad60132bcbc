"""Streaming: the ``online.*`` arrays of case ``frontend`` and the case ``paraformer_online``."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from funrecipe.audio.frontend import WavFrontend
from funrecipe.audio.online import OnlineFrontend
from funrecipe.decode.streaming import streaming_text
from funrecipe.models.paraformer_online import ParaformerOnline, StreamCache
from funrecipe.models.registry import build_model
from tools.parity import frontend as offline
from tools.parity.case import Case

BLANK, EOS = 0, 2
TAIL_SAMPLES = 960  # FunASR: a final call with fewer samples is a "tail chunk"
LOST_TAIL = "FunASR loses the tail or raises in its final step (fact 11): the offline features are the reference there"


def stream_features(frontend: WavFrontend, wave: np.ndarray, chunk_samples: int) -> tuple[Tensor, list[int], list[int]]:
    """Feed a wave in chunks: all frames ``(T, D)``; per step, frames and the samples under the frames seen anew."""
    online, fbank = OnlineFrontend(frontend), frontend.fbank
    samples = torch.from_numpy(wave.astype(np.float32) / 32768.0)
    state = online.start()
    steps, spans = [], []
    for start in range(0, len(wave), chunk_samples):
        first_tap = max(0, state.next_output * frontend.lfr_n - (frontend.lfr_m - 1) // 2)
        steps.append(online.feed(samples[start : start + chunk_samples], state, start + chunk_samples >= len(wave)))
        last_frame = state.first_frame + len(state.log_mels) - 1
        spans.append((last_frame - first_tap) * fbank.shift_samples + fbank.window_samples if len(steps[-1]) else 0)
    return torch.cat(steps), [len(step) for step in steps], spans


def check_online_frontend(case: Case) -> None:
    config = case.yaml("config.yaml")
    for prefix in sorted({m[0] for key in case.expected if (m := re.match(r"online\.[^.]+\.[^.]+", key))}):
        _, name, chunk = prefix.split(".")
        conf = config["frontends"][name]
        frontend = WavFrontend.from_config(conf, case.path / f"{name}.mvn").eval()
        wave = case.inputs[f"wav_stream{conf['fs']}"]
        feats, frames, spans = stream_features(frontend, wave, config["online_chunk_samples"][chunk])
        whole = frontend(*offline.padded([wave]))[0][0]
        case.compare_values(f"{prefix}.equals_offline", feats, whole, 1e-5, "ours, streamed against whole")
        theirs = case.expected[f"{prefix}.frames_per_step"].tolist()
        complete = -1 not in theirs and sum(theirs) == len(whole)
        note = "" if complete else LOST_TAIL
        case.compare_values(
            f"{prefix}.frames_per_step",
            frames,
            theirs if complete else [*theirs[:-1], len(whole) - sum(theirs[:-1])],
            note=note,
        )
        if 0 in theirs[:-1]:
            case.covered(
                f"{prefix}.wave_samples_per_step", "FunASR's wave buffer is a window behind after a step without frames"
            )
        else:
            case.compare_values(
                f"{prefix}.wave_samples_per_step",
                spans[: len(theirs) - 1],
                case.expected[f"{prefix}.wave_samples_per_step"].tolist()[: len(theirs) - 1],
                note="all but the final step, where FunASR leaves out the last window or has no value",
            )
        for part, tolerance in (("feats", offline.FEATS_TOLERANCE), ("frame_sums", offline.SUM_TOLERANCE)):
            if (key := f"{prefix}.{part}") in case.expected:
                expected = case.expected[key]
                ours = (feats if part == "feats" else feats.double().sum(dim=1))[: len(expected)]
                case.compare(key, ours, tolerance, note=note)


def check_paraformer_online(case: Case) -> None:
    model, frontend = (
        load_model(case),
        WavFrontend.from_config(case.yaml("config.yaml")["frontend_conf"], case.path / "am.mvn"),
    )
    texts = case.json("texts.json")
    tokens = case.json("tokens.json")
    for name, run in case.yaml("runs.yaml").items():
        ids = check_run(case, name, run, model, frontend.eval())
        case.compare_values(f"texts.{name}", [streaming_text([tokens[i] for i in step]) for step in ids], texts[name])
        case.compare(f"{name}.token_ids", [i for step in ids for i in step])
    check_fake_streaming(case, model)


def load_model(case: Case) -> torch.nn.Module:
    config = case.yaml("config.yaml")
    model = build_model(config, len(config["token_list"]))
    model.load_state_dict(torch.load(case.path / "model.pb", weights_only=True))
    return model.eval()


def check_run(case: Case, name: str, run: dict, model: ParaformerOnline, frontend: WavFrontend) -> list[list[int]]:
    """One stream, fed as FunASR's caller fed it; the ids of every step without blank and eos."""
    samples = torch.from_numpy(case.waveform(f"wave_{run['wave']}"))
    online = OnlineFrontend(frontend)
    state = online.start()
    cache = model.stream_start(tuple(run["chunk_size"]), run["encoder_chunk_look_back"], run["decoder_chunk_look_back"])
    stride = run["samples_per_step"]
    new_ids: list[list[int]] = []
    for k, start in enumerate(range(0, len(samples), stride)):
        is_final = start + stride >= len(samples)
        step = f"{name}.step{k}"
        tail_chunk = is_final and len(samples) - start < TAIL_SAMPLES
        if tail_chunk:  # fact 6: FunASR feeds nothing here and encodes the cached window once more
            feats, shown = samples.new_zeros(1, 0, frontend.output_size), cache.embedded
        else:
            feats = shown = online.feed(samples[start : start + stride], state, is_final)[None]
        counted = cache.position + shown.size(1)
        compare_reached(case, f"{step}.feats", shown, offline.FEATS_TOLERANCE)
        compare_reached(case, f"{step}.feats_frame_sums", shown.double().sum(dim=2), offline.SUM_TOLERANCE)
        compare_reached(case, f"{step}.tail_chunk", [int(tail_chunk)])
        runs = feats.size(1) > 0 or (tail_chunk and cache.position > 0)
        new_ids.append(check_step(case, step, model, cache, feats, is_final) if runs else [])
        compare_reached(case, f"{step}.start_idx", [counted if runs else cache.position])
    return new_ids


def compare_reached(case: Case, key: str, ours: Tensor | list, tolerance: float = 0.0) -> None:
    """A missing array means that FunASR did not reach this stage in this step."""
    if key in case.expected:
        case.compare(key, ours, tolerance)


def check_step(
    case: Case, step: str, model: ParaformerOnline, cache: StreamCache, feats: Tensor, is_final: bool
) -> list[int]:
    encoder_out = model.stream_encode(feats, cache)
    embeds = model.stream_cif.predict(cache, is_final)
    case.compare(f"{step}.encoder_out", encoder_out, 1e-4)
    case.compare(f"{step}.token_num", [embeds.size(1)])
    case.compare(f"{step}.cif_alphas_carry", [[cache.carry_alpha]], 1e-4)
    case.compare(f"{step}.cif_hidden_carry", cache.carry_hidden[None, None], 1e-4)
    if not embeds.size(1):
        return []
    log_probs = model.stream_decode(embeds, cache)
    ids = log_probs[0].argmax(dim=1)
    case.compare(f"{step}.acoustic_embeds", embeds, 1e-4)
    case.compare(f"{step}.decoder_log_probs", log_probs, 1e-4)
    case.compare(f"{step}.argmax_ids", ids)
    return [i for i in ids.tolist() if i not in (BLANK, EOS)]


def check_fake_streaming(case: Case, model: ParaformerOnline) -> None:
    """Whole utterances through chunk masks; a batch equals its utterances alone, the shorter are compared there."""
    feats, lens = torch.from_numpy(case.inputs["feats"]), torch.from_numpy(case.inputs["feats_lens"])
    groups = sorted({m[0] for key in case.expected if (m := re.match(r"fake\.ind\d+\.(batch|u\d+)", key))})
    for group in groups:
        _, shape, part = group.split(".")
        rows = slice(None) if part == "batch" else slice(int(part[1:]), int(part[1:]) + 1)
        output, log_probs = model.recognize_chunked(feats[rows, : int(lens[rows].max())], lens[rows], int(shape[3:]))
        arrays = {
            "encoder_out_chunked": output.encoder_out,
            "alphas": output.cif.alphas,
            "acoustic_embeds": output.cif.embeds,
            "decoder_log_probs": log_probs,
            "argmax_ids": log_probs.argmax(dim=2),
        }
        case.compare(f"{group}.encoder_out_lens", output.layout.lens)
        case.compare(f"{group}.token_num", output.cif.token_num, 1e-4)
        case.compare(f"{group}.scama_mask", output.attention_mask.float())
        for key, ours in arrays.items():
            tolerance = 0.0 if key == "argmax_ids" else 1e-4
            if part != "batch":
                case.compare(f"{group}.{key}", ours, tolerance)
            else:
                expected = [
                    case.expected[f"fake.{shape}.u{i}.{key}"][0]
                    if f"fake.{shape}.u{i}.{key}" in case.expected
                    else None
                    for i in range(len(feats))
                ]
                compare_rows(case, f"{group}.{key}", ours, expected, tolerance)


def compare_rows(case: Case, key: str, ours: Tensor, alone: list[np.ndarray | None], tolerance: float) -> None:
    """Rows of a batch: each against its utterance alone (fact 2), the longest also against FunASR's batch."""
    batch = case.expected[key]
    for i, reference in enumerate(alone):
        if reference is not None:
            case.compare_values(
                f"{key}[{i}]", ours[i, : len(reference)], reference, tolerance, "a batch equals its utterances alone"
            )
    longest = int(np.argmax([len(r) if r is not None else 0 for r in alone]))
    case.compare_values(
        key, ours[longest], batch[longest], tolerance, "the longest utterance; see fact 2 for the others"
    )


offline.STREAMING_CHECKS.append(check_online_frontend)
CASES = {"paraformer_online": check_paraformer_online}
