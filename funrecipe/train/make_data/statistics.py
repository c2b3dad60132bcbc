"""Mean and variance of the features of a training set."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from funrecipe.audio.cmvn import cmvn_from_statistics, write_cmvn
from funrecipe.audio.frontend import WavFrontend
from funrecipe.audio.io import read_audio
from funrecipe.data.kaldi_dir import Utterance, read_data_dir
from funrecipe.errors import DataError, list_problems

log = logging.getLogger(__name__)
MAX_UNREADABLE_SHARE = 0.1  # as in training


def write_statistics(data_dir: Path, frontend_conf: Mapping[str, Any], path: Path, *, max_utterances: int = 0) -> int:
    """Write ``am.mvn`` of the features of a training set, stacked as the model gets them. Returns the number of frames.

    Args:
        max_utterances: use at most this many, evenly spaced; 0: all.

    Raises:
        DataError: more than a tenth of the files cannot be read, or there is no frame at all.
    """
    frontend = WavFrontend.from_config({**frontend_conf, "dither": 0.0})
    utterances = read_data_dir(data_dir).utterances
    if max_utterances and len(utterances) > max_utterances:
        utterances = utterances[:: -(-len(utterances) // max_utterances)]
    sums, squares, frames = np.zeros(frontend.output_size), np.zeros(frontend.output_size), 0
    unreadable = []
    for utterance in utterances:
        try:
            values = features_of(utterance, frontend, int(frontend_conf.get("fs", 16000)))
        except DataError as error:
            unreadable.append(str(error))
            continue
        sums, squares, frames = sums + values.sum(0), squares + (values**2).sum(0), frames + len(values)
    if unreadable:
        found = f"{len(unreadable)} of {len(utterances)} files cannot be read\n{list_problems(unreadable)}"
        if len(unreadable) > MAX_UNREADABLE_SHARE * len(utterances):
            raise DataError(found, where=str(data_dir))
        log.warning("%s: %s", data_dir, found)
    write_cmvn(path, cmvn_from_statistics(sums, squares, frames))
    return frames


def features_of(utterance: Utterance, frontend: WavFrontend, sample_rate_hz: int) -> np.ndarray:
    """``feats`` (T, D), float64. Raises DataError if the audio cannot be read."""
    wave = read_audio(utterance.audio, sample_rate_hz=sample_rate_hz, start_s=utterance.start_s, end_s=utterance.end_s)
    with torch.inference_mode():
        feats, feat_lens = frontend(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    return feats[0, : int(feat_lens[0])].double().numpy()
