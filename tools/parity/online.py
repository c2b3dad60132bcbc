"""Streaming: the ``online.*`` arrays of case ``frontend`` and the case ``paraformer_online``."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from funrecipe.audio.frontend import WavFrontend
from funrecipe.audio.online import OnlineFrontend
from tools.parity import frontend as offline
from tools.parity.case import Case

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
        case.compare_values(f"{prefix}.frames_per_step", frames,
                            theirs if complete else [*theirs[:-1], len(whole) - sum(theirs[:-1])], note=note)
        if 0 in theirs[:-1]:
            case.covered(f"{prefix}.wave_samples_per_step", "FunASR's wave buffer is a window behind after a step without frames")
        else:
            case.compare_values(f"{prefix}.wave_samples_per_step", spans[: len(theirs) - 1],
                                case.expected[f"{prefix}.wave_samples_per_step"].tolist()[: len(theirs) - 1],
                                note="all but the final step, where FunASR leaves out the last window or has no value")
        for part, tolerance in (("feats", offline.FEATS_TOLERANCE), ("frame_sums", offline.SUM_TOLERANCE)):
            if (key := f"{prefix}.{part}") in case.expected:
                expected = case.expected[key]
                ours = (feats if part == "feats" else feats.double().sum(dim=1))[: len(expected)]
                case.compare(key, ours, tolerance, note=note)


offline.STREAMING_CHECKS.append(check_online_frontend)
