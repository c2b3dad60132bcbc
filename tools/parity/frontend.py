"""Case ``frontend``: log-mels, low frame rate and CMVN of the offline front-end."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from funrecipe.audio.frontend import WavFrontend, stack_frames
from tools.parity.case import Case

FEATS_TOLERANCE = 2e-3
SUM_TOLERANCE = 0.05
BATCH_WAVES = 3  # the generator batches the last three waves of each rate


def waves_of(case: Case, rate_hz: int) -> list[np.ndarray]:
    """The offline waves of one rate, in order of their numbers."""
    keys = [key for key in case.inputs if re.fullmatch(rf"wav{rate_hz}_\d+", key)]
    return [case.inputs[key] for key in sorted(keys, key=lambda key: int(key.rsplit("_", 1)[1]))]


def padded(waves: list[np.ndarray], scale: float = 1 / 32768.0) -> tuple[Tensor, Tensor]:
    """int16 waves -> ``(B, S)`` float, ``(B,)`` lengths."""
    floats = [torch.from_numpy(wave.astype(np.float32) * scale) for wave in waves]
    return pad_sequence(floats, batch_first=True), torch.tensor([len(wave) for wave in waves])


def check_offline(case: Case, name: str, frontend: WavFrontend, waves: list[np.ndarray]) -> None:
    for i, wave in enumerate(waves):
        waveform, wave_lens = padded([wave])
        log_mels, mel_lens = frontend.fbank(waveform * frontend.scale, wave_lens)
        stacked, _ = stack_frames(log_mels, mel_lens, frontend.lfr_m, frontend.lfr_n)
        feats, _ = frontend(waveform, wave_lens)
        for part, value in (("fbank", log_mels), ("lfr", stacked), ("feats", feats)):
            if (key := f"{name}.u{i}.{part}") in case.expected:
                case.compare(key, value[0], FEATS_TOLERANCE)
    if f"{name}.batch.feats_lens" in case.expected:
        feats, feat_lens = frontend(*padded(waves[-BATCH_WAVES:]))
        case.compare(f"{name}.batch.feats_lens", feat_lens)
        case.compare(f"{name}.batch.frame_sums", feats.double().sum(dim=2), SUM_TOLERANCE)


def check_int16(case: Case, frontends: dict[str, dict]) -> None:
    """Wave 5 in int16 units with ``upsacle_samples: false``, features of the first front-end of that width."""
    expected = case.expected["int16_noupscale.feats"]
    for name, conf in frontends.items():
        waves = waves_of(case, conf["fs"])
        frontend = WavFrontend.from_config({**conf, "upsacle_samples": False}, case.path / f"{name}.mvn")
        if frontend.output_size == expected.shape[1] and len(waves) > 5:
            case.compare("int16_noupscale.feats", frontend(*padded([waves[5]], scale=1.0))[0][0], FEATS_TOLERANCE)
            return


def check_frontend(case: Case) -> None:
    frontends = case.yaml("config.yaml")["frontends"]
    for name, conf in frontends.items():
        frontend = WavFrontend.from_config(conf, case.path / f"{name}.mvn").eval()
        check_offline(case, name, frontend, waves_of(case, conf["fs"]))
    if "int16_noupscale.feats" in case.expected:
        check_int16(case, frontends)
    for check in STREAMING_CHECKS:
        check(case)


STREAMING_CHECKS: list[Callable[[Case], None]] = []
CASES = {"frontend": check_frontend}
