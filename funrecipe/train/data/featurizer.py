"""Audio of one utterance -> ``feats`` (T, D), the model's input: reading, augmentation, front-end, and a cache."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from io import BytesIO

import numpy as np
import torch
from torch import Tensor

from funrecipe.audio.augment import SpecAugment, WaveAugment, change_speed
from funrecipe.audio.frontend import WavFrontend, stack_frames
from funrecipe.audio.io import read_audio
from funrecipe.data.kaldi_matrix import read_matrix
from funrecipe.errors import DataError
from funrecipe.train.data.dataset import TrainItem


class FeatureCache:
    """Features by (utterance, speed); the oldest are evicted. Shared by the threads of a loader."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.used_bytes = limit_bytes, 0
        self._entries: OrderedDict[tuple[str, float], Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[FeatureCache], tuple[int]]:
        """In another process it begins empty."""
        return FeatureCache, (self.limit_bytes,)

    def get(self, key: tuple[str, float]) -> Tensor | None:
        with self._lock:
            return self._entries.get(key)

    def put(self, key: tuple[str, float], feats: Tensor) -> None:
        size = feats.numel() * feats.element_size()
        with self._lock:
            if key in self._entries or size > self.limit_bytes:
                return
            while self.used_bytes + size > self.limit_bytes:
                _, dropped = self._entries.popitem(last=False)
                self.used_bytes -= dropped.numel() * dropped.element_size()
            self._entries[key] = feats
            self.used_bytes += size


class Featurizer:
    """Callable ``(item, chooser)`` -> ``feats`` (T, D), for :class:`~funrecipe.train.data.dataset.BatchLoader`.

    Args:
        frontend: waveform -> features, LFR and CMVN included.
        sample_rate_hz: of the front-end.
        augment: waveform augmentation of training utterances, or None.
        specaug: masks on the features of training utterances, or None.
        cache_mb: memory for features, in MB; not used with noise or reverberation, which change every time.
    """

    def __init__(
        self,
        frontend: WavFrontend,
        sample_rate_hz: int,
        augment: WaveAugment | None = None,
        cache_mb: int = 0,
        specaug: SpecAugment | None = None,
    ) -> None:
        self.frontend, self.sample_rate_hz, self.augment, self.specaug = frontend, sample_rate_hz, augment, specaug
        varies = augment is not None and (augment.noises or augment.responses)
        self.cache = FeatureCache(cache_mb << 20) if cache_mb and not varies else None

    def __call__(self, item: TrainItem, chooser: random.Random | None) -> Tensor:
        if item.kind == "text":  # a language model's sentence
            return torch.zeros(1, 1)
        speed = self.augment.choose_speed(chooser) if self.augment and chooser else 1.0
        feats = self.cache.get((item.key, speed)) if self.cache else None
        if feats is None:
            feats = self.ready_features(item) if item.kind == "kaldi_ark" else self.compute(item, speed, chooser)
            if self.cache:
                self.cache.put((item.key, speed), feats)
        return self.specaug.augment_one(feats.clone(), chooser) if self.specaug and chooser else feats

    def compute(self, item: TrainItem, speed: float, chooser: random.Random | None) -> Tensor:
        waveform = change_speed(self.read(item), speed)
        if self.augment and chooser:
            waveform = self.augment.add_room_and_noise(waveform, chooser)
        return self.extract(waveform, item)

    def read(self, item: TrainItem) -> np.ndarray:
        source = BytesIO(read_slice(item.audio)) if item.kind == "tar" else item.audio
        return read_audio(source, sample_rate_hz=self.sample_rate_hz, start_s=item.start_s, end_s=item.end_s)

    def ready_features(self, item: TrainItem) -> Tensor:
        """Features of a Kaldi archive: plain filter banks get LFR and CMVN, ready model input is used as it is."""
        feats = torch.from_numpy(np.array(read_matrix(item.audio), dtype=np.float32))
        if not torch.isfinite(feats).all():
            raise DataError("features are not finite (NaN or infinity)", where=f"{item.key}: {item.audio}")
        frontend = self.frontend
        if feats.size(1) == frontend.output_size and frontend.lfr_m > 1:
            return feats
        if feats.size(1) != frontend.fbank.n_mels:
            raise DataError(
                f"{feats.size(1)} columns; this model takes {frontend.fbank.n_mels} (filter banks) or "
                f"{frontend.output_size} (after LFR and CMVN)",
                where=f"{item.key}: {item.audio}",
            )
        stacked, _ = stack_frames(feats[None], torch.tensor([len(feats)]), frontend.lfr_m, frontend.lfr_n)
        return frontend.normalize(stacked[0])

    @torch.no_grad()
    def extract(self, waveform: np.ndarray, item: TrainItem) -> Tensor:
        feats, feat_lens = self.frontend(
            torch.from_numpy(np.ascontiguousarray(waveform))[None], torch.tensor([len(waveform)])
        )
        feats = feats[0, : int(feat_lens[0])]
        if len(feats) == 0:
            raise DataError("too short for one frame of features", where=f"{item.key}: {item.audio}")
        return feats


def read_slice(place: str) -> bytes:
    """The bytes that ``path:offset:size`` names: a member of a tar shard. Raises DataError: it is gone."""
    path, offset, size = place.rsplit(":", 2)
    try:
        with open(path, "rb") as file:
            file.seek(int(offset))
            return file.read(int(size))
    except OSError as error:
        raise DataError(f"cannot read the shard: {error.strerror}", where=place) from None
