"""Waveform -> speaker embedding: features and network of one model folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from funrecipe.audio.fbank import Fbank
from funrecipe.audio.frontend import WavFrontend
from funrecipe.checkpoint import fit_state_dict, load_state_dict
from funrecipe.errors import DataError, UsageError
from funrecipe.families import names_with
from funrecipe.model_folder import ModelFolder
from funrecipe.models.registry import build_model
from funrecipe.models.uninitialized import Uninitialized
from funrecipe.models.xvector import XVector

WINDOW_BATCH = 32  # fixed, so that an embedding never depends on what else a run does
CLASSIFIER = "decoder.output_dense.weight"  # of an x-vector model
WRAPPER_PREFIX = "model."  # FunASR 1.x wraps ERes2NetV2 in a class of its own


class SpeakerFeatures(nn.Module):
    """Features of waveforms in [-1, 1], all of the same length, less their mean over the utterance."""

    def __init__(self, frontend: Fbank | WavFrontend, *, subtract_mean: bool = True) -> None:
        super().__init__()
        self.frontend, self.subtract_mean = frontend, subtract_mean
        self.fbank = frontend if isinstance(frontend, Fbank) else frontend.fbank

    def forward(self, waveforms: Tensor) -> Tensor:
        """``waveforms`` (B, S) -> (B, T, D)."""
        wave_lens = torch.full((waveforms.size(0),), waveforms.size(1), device=waveforms.device)
        feats, _ = self.frontend(waveforms, wave_lens)
        return feats - feats.mean(dim=1, keepdim=True) if self.subtract_mean else feats


def configured_features(config: Mapping[str, Any], cmvn: Path | None) -> SpeakerFeatures:
    """Those that an ``sv.yaml`` describes; ``normalize: utterance_mvn`` subtracts the mean.

    Raises:
        UsageError: another front-end or normalization.
    """
    conf = dict(config.get("normalize_conf") or {})
    unknown = config.get("normalize") not in (None, "utterance_mvn")
    if unknown or conf.get("norm_vars") or config.get("frontend", "wav_frontend") != "wav_frontend":
        raise UsageError(
            "only the front-end wav_frontend with normalize: null or utterance_mvn (means) is supported",
            where="config.yaml: frontend, normalize",
        )
    subtract_mean = config.get("normalize") == "utterance_mvn" and bool(conf.get("norm_means", True))
    return SpeakerFeatures(
        WavFrontend.from_config(config.get("frontend_conf") or {}, cmvn), subtract_mean=subtract_mean
    )


class SpeakerModel:
    """Embeds waveforms. Keeps no state between calls, so threads may share it.

    Attributes:
        sample_rate_hz: of the waveforms; embedding_size: E; family: of the network; min_samples: shortest waveform.
    """

    def __init__(
        self, features: SpeakerFeatures, network: nn.Module, folder: ModelFolder, device: torch.device
    ) -> None:
        self.features, self.network, self.device = features, network, device
        self.family, self.sample_rate_hz = folder.family, folder.sample_rate_hz
        self.embedding_size = int(network.embedding_size)  # type: ignore[arg-type]
        frames = int(network.min_frames) - 1  # type: ignore[arg-type]
        self.min_samples = features.fbank.window_samples + frames * features.fbank.shift_samples

    def embed(self, waveform: np.ndarray) -> np.ndarray:
        """The embedding (E,) float32 of one waveform (S,), float in [-1, 1] at ``sample_rate_hz``.

        Raises:
            DataError: the waveform is shorter than the network needs, or its embedding is not finite.
        """
        return self.embed_windows(np.asarray(waveform, dtype=np.float32)[None])[0]

    @torch.inference_mode()
    def embed_windows(self, waveforms: np.ndarray) -> np.ndarray:
        """Embeddings (N, E) of waveforms (N, S): all of the same length, because padding would change them.

        Raises:
            DataError: as :meth:`embed`.
        """
        if waveforms.shape[1] < self.min_samples:
            shortest_ms, length_ms = (1000 * n / self.sample_rate_hz for n in (self.min_samples, waveforms.shape[1]))
            raise DataError(
                f"{length_ms:.0f} ms of audio is too short for a speaker embedding, which needs {shortest_ms:.0f} ms"
            )
        parts = [np.zeros((0, self.embedding_size), np.float32)]
        for start in range(0, len(waveforms), WINDOW_BATCH):
            batch = torch.from_numpy(np.array(waveforms[start : start + WINDOW_BATCH], dtype=np.float32))
            parts.append(self.network(self.features(batch.to(self.device))).float().cpu().numpy())
        embeddings = np.concatenate(parts)
        if not np.isfinite(embeddings).all():
            raise DataError("the speaker embedding is not finite: the weights are damaged, or the audio is invalid")
        return embeddings


def load_speaker_model(
    folder: ModelFolder, *, device: torch.device | str = "cpu", weights: Path | None = None
) -> SpeakerModel:
    """The speaker model of a folder: CAM++, ERes2NetV2 or the x-vectors of FunASR 0.x.

    Raises:
        UsageError: a family without speaker embeddings, or a setting that is not supported.
        DataError, UnsafeFileError: weights that do not fit or are not safe.
    """
    if folder.row.threshold is None:
        raise UsageError(
            f"a model of family '{folder.family}' has no speaker embeddings",
            where=str(folder.path),
            hint=f"use one of: {', '.join(names_with('threshold'))}",
        )
    path = weights or folder.weights
    state = {name.removeprefix(WRAPPER_PREFIX): tensor for name, tensor in load_state_dict(path).items()}
    # The speakers of an x-vector model's training, which only its classifier needs, are often not in the folder.
    n_classes = len(folder.tokens) or len(state.get(CLASSIFIER, ()))
    with Uninitialized():
        network = build_model(folder.config, n_classes).eval().requires_grad_(False)
    fit_state_dict(network, state, where=str(path))
    if isinstance(network, XVector):
        features = configured_features(folder.config, folder.cmvn)
    else:  # CAM++ and ERes2NetV2
        features = SpeakerFeatures(Fbank(folder.sample_rate_hz, int(network.feat_dim), window="povey"))
    device = torch.device(device)
    return SpeakerModel(features.eval().to(device), network.to(device), folder, device)
