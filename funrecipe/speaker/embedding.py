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

WINDOW_BATCH = 32  # fixed, so that an embedding never depends on what else a run does
CLASSIFIER = "decoder.output_dense.weight"  # of an x-vector model
WRAPPER_PREFIX = "model."  # FunASR 1.x wraps ERes2NetV2 in a class of its own


class MeanFreeFbank(nn.Module):
    """Log-mels of waveforms in [-1, 1], the mean over the utterance subtracted from each bin: CAM++ and ERes2NetV2."""

    def __init__(self, sample_rate_hz: int, n_mels: int) -> None:
        super().__init__()
        self.fbank = Fbank(sample_rate_hz, n_mels, window="povey")

    def forward(self, waveforms: Tensor) -> Tensor:
        """``waveforms`` (B, S), all of the same length -> (B, T, n_mels)."""
        feats, _ = self.fbank(waveforms, torch.full((waveforms.size(0),), waveforms.size(1), device=waveforms.device))
        return feats - feats.mean(dim=1, keepdim=True)


class ConfiguredFrontend(nn.Module):
    """The front-end that an ``sv.yaml`` describes; ``normalize: utterance_mvn`` subtracts the mean."""

    def __init__(self, config: Mapping[str, Any], cmvn: Path | None) -> None:
        super().__init__()
        self.frontend = WavFrontend.from_config(config.get("frontend_conf") or {}, cmvn)
        conf = dict(config.get("normalize_conf") or {})
        self.subtract_mean = config.get("normalize") == "utterance_mvn" and bool(conf.get("norm_means", True))
        unknown = config.get("normalize") not in (None, "utterance_mvn")
        if unknown or conf.get("norm_vars") or config.get("frontend", "wav_frontend") != "wav_frontend":
            raise UsageError(
                "only the front-end wav_frontend with normalize: null or utterance_mvn (means) is supported",
                where="config.yaml: frontend, normalize",
            )

    def forward(self, waveforms: Tensor) -> Tensor:
        """``waveforms`` (B, S), all of the same length -> (B, T, D)."""
        wave_lens = torch.full((waveforms.size(0),), waveforms.size(1), device=waveforms.device)
        feats, _ = self.frontend(waveforms, wave_lens)
        return feats - feats.mean(dim=1, keepdim=True) if self.subtract_mean else feats


class SpeakerModel:
    """Embeds waveforms. Keeps no state between calls, so threads may share it.

    Attributes:
        sample_rate_hz: of the waveforms; embedding_size: E; family: of the network; min_samples: shortest waveform.
    """

    def __init__(self, features: nn.Module, network: nn.Module, folder: ModelFolder, device: torch.device) -> None:
        self.features, self.network, self.device = features, network, device
        self.family, self.sample_rate_hz = folder.family, folder.sample_rate_hz
        self.embedding_size = int(network.embedding_size)  # type: ignore[arg-type]
        fbank = features.fbank if isinstance(features, MeanFreeFbank) else features.frontend.fbank
        frames = int(network.min_frames) - 1  # type: ignore[arg-type]
        self.min_samples = int(fbank.window_samples + frames * fbank.shift_samples)  # type: ignore[union-attr]

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
    if folder.family not in names_with("threshold"):
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
    features: nn.Module
    if folder.family == "sv":
        features = ConfiguredFrontend(folder.config, folder.cmvn)
    else:
        features = MeanFreeFbank(folder.sample_rate_hz, int(network.feat_dim))  # type: ignore[arg-type]
    device = torch.device(device)
    return SpeakerModel(features.eval().to(device), network.to(device), folder, device)
