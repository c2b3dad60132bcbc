"""From settings to batches: costs, plans of both kinds of data, loaders with their augmentation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funrecipe.audio.augment import WaveAugment, build_specaug
from funrecipe.audio.frontend import WavFrontend
from funrecipe.audio.io import read_audio
from funrecipe.data.kaldi_dir import read_texts, resolve_audio
from funrecipe.errors import DataError, UsageError, unknown_name
from funrecipe.model_folder import ModelFolder
from funrecipe.train.data.dataset import BatchBuilder, BatchLoader, BatchPlan, ItemLimits, SmallPlan, TrainItem
from funrecipe.train.data.featurizer import Featurizer
from funrecipe.train.data.large import Shard, StreamedPlan, read_shard_list
from funrecipe.train.data.rich_labels import rich_labels_of
from funrecipe.train.distributed import Ranks
from funrecipe.train.options import TrainOptions

log = logging.getLogger(__name__)
SHARD_LISTS = ("data.list", "speech_text_data.list")
LARGE_SETTINGS = ("data_types", "shuffle", "shuffle_conf")
# What FunASR's files have there too, and where it is set here.
REPLACED_SETTINGS = {
    "batch_conf": "batch_bins and batch_unit",
    "num_workers": "--num_workers",
    "data_names": "dataset_conf's data_types",
    **{f"{name}_rate": f"model_conf's {name}_rate" for name in ("sample", "double")},
    **{f"hotword_{end}_length": f"model_conf's {end}_hw_length" for end in ("min", "max")},
}


def frontend_of(folder: ModelFolder) -> WavFrontend:
    """The model's front-end without dither, so that features depend on the audio only."""
    return WavFrontend.from_config({**(folder.config.get("frontend_conf") or {}), "dither": 0.0}, folder.cmvn)


def unit_ms(unit: str, folder: ModelFolder) -> float | None:
    """How much audio one unit of ``batch_bins`` is, in ms; None for units that are not durations."""
    return {"ms": 1.0, "fbank_frames": folder.frame_shift_ms, "model_frames": folder.encoder_frame_ms}.get(unit)


def cost_of(item: TrainItem, unit: str, folder: ModelFolder) -> float:
    """How many units of ``batch_bins`` an utterance takes."""
    if (ms := unit_ms(unit, folder)) is not None:
        return item.duration_ms / ms
    return float(len(item.text)) if unit == "tokens" else 1.0


def wave_augment(options: TrainOptions, sample_rate_hz: int) -> WaveAugment:
    """The speeds, noises and impulse responses that the options name, loaded into memory."""

    def load(scp: str) -> list[np.ndarray]:
        if not scp:
            return []
        lines = read_texts(scp)
        if not lines or not all(lines.values()):
            raise DataError("expected 'ID PATH' lines", where=scp)
        places = [resolve_audio(place, str(Path(scp).parent)) for place in lines.values()]
        return [read_audio(place, sample_rate_hz=sample_rate_hz) for place in places]

    low, high = options.noise_snr_db
    return WaveAugment(
        options.speed_perturb,
        load(options.noise_scp),
        options.noise_probability,
        (low, high),
        load(options.rir_scp),
        options.reverb_probability,
    )


def small_plan(
    items: Sequence[TrainItem],
    folder: ModelFolder,
    options: TrainOptions,
    ranks: Ranks,
    *,
    shuffle: bool,
    passes: int = 1,
) -> SmallPlan:
    """Batches of a list in memory; an epoch has ``passes`` passes over it."""
    costs = [cost_of(item, options.unit, folder) for item in items]
    return SmallPlan(
        items, costs, options.batch_bins, seed=options.seed, shuffle=shuffle, passes=passes, rank=ranks.rank,
        world_size=ranks.world_size,
    )  # fmt: skip


def large_plan(
    train_dir: Path, folder: ModelFolder, options: TrainOptions, limits: ItemLimits,
    tokenize: Callable[[str], tuple[int, ...]], ranks: Ranks,
    phones_of: Callable[[Sequence[int]], tuple[int, ...]] | None = None,
) -> StreamedPlan:  # fmt: skip
    """Batches streamed from the shards of ``data.list``; without that file, wav.scp and text are the only shard.

    ``dataset_conf``: ``data_types`` (``sound,text``, ``kaldi_ark,text`` or ``tar``), ``shuffle``, ``shuffle_conf``
    {shuffle_size, sort_size}.
    """
    conf = options.dataset_conf
    shuffle = conf.get("shuffle_conf") or {}
    return StreamedPlan(
        shards_of(train_dir, options), tokenize, limits, lambda item: cost_of(item, options.unit, folder),
        options.batch_bins,
        shuffle_size=int(shuffle.get("shuffle_size", 2048)) if conf.get("shuffle", True) else 0,
        sort_size=int(shuffle.get("sort_size", 500)), seed=options.seed, rank=ranks.rank, world_size=ranks.world_size,
        frame_shift_ms=folder.frame_shift_ms, sample_rate_hz=folder.sample_rate_hz, passes=options.passes_per_epoch,
        phones_of=phones_of, label=rich_labels_of(folder, train_dir), max_bad_share=options.max_bad_share,
    )  # fmt: skip


def shards_of(train_dir: Path, options: TrainOptions) -> list[Shard]:
    """The shards of a large data set; a plain data directory is one shard. Raises DataError."""
    kind = str(options.dataset_conf.get("data_types", "sound,text")).split(",")[0]
    listed = next((train_dir / name for name in SHARD_LISTS if (train_dir / name).is_file()), None)
    if listed is not None:
        return read_shard_list(listed, kind)
    whole = (train_dir / "wav.scp", train_dir / "text")
    if kind != "sound" or not all(path.is_file() for path in whole):
        raise DataError(f"no {SHARD_LISTS[0]}", where=str(train_dir), hint="write one shard per line: WAV_SCP TEXT")
    if (train_dir / "segments").is_file():
        hint = f"use --dataset_type small, or a {SHARD_LISTS[0]} of audio that has been cut"
        raise DataError("segments cannot be streamed", where=str(train_dir), hint=hint)
    return [Shard(kind, (str(whole[0]), str(whole[1])))]


def check_dataset_conf(conf: Mapping[str, Any]) -> None:
    """Raise UsageError for an unknown key of ``dataset_conf`` or a wrong size; log what another setting replaces."""
    shuffle = conf.get("shuffle_conf") or {}
    if not isinstance(shuffle, Mapping) or not all(isinstance(size, int) and size >= 0 for size in shuffle.values()):
        hint = "give whole numbers of 0 or more: {shuffle_size: 2048, sort_size: 500}"
        raise UsageError(f"dataset_conf: shuffle_conf is {shuffle}", hint=hint)
    if not isinstance(conf.get("shuffle", True), bool):
        raise UsageError(f"dataset_conf: shuffle is {conf['shuffle']!r:.60}", hint="give true or false")
    for name, known in [*((n, LARGE_SETTINGS) for n in conf), *((n, ("shuffle_size", "sort_size")) for n in shuffle)]:
        if name in REPLACED_SETTINGS:
            log.info("dataset_conf: %s has no effect; set %s instead", name, REPLACED_SETTINGS[name])
        elif name not in known:
            raise unknown_name("dataset_conf: no setting", name, known)


def training_loader(
    plan: BatchPlan, folder: ModelFolder, options: TrainOptions, *, in_processes: bool = False
) -> BatchLoader:
    """Batches with augmentation. Features are cached for small data only, and in each process by itself."""
    augment = wave_augment(options, folder.sample_rate_hz)
    specaug = build_specaug(options.specaug, options.specaug_conf, folder.mel_bins)
    cache_mb = options.cache_mb if options.dataset_type == "small" else 0
    if in_processes:
        cache_mb //= max(1, options.num_workers)
    featurize = Featurizer(frontend_of(folder), folder.sample_rate_hz, augment, cache_mb, specaug)
    return BatchLoader(
        plan,
        BatchBuilder(featurize, options.seed),
        workers=options.num_workers,
        prefetch_batches=options.prefetch_batches,
        in_processes=in_processes,
    )


def validation_loader(
    items: Sequence[TrainItem], folder: ModelFolder, options: TrainOptions, ranks: Ranks
) -> BatchLoader:
    """Plain batches of the validation set."""
    featurize = Featurizer(frontend_of(folder), folder.sample_rate_hz, None, options.cache_mb)
    plan = small_plan(items, folder, options, ranks, shuffle=False)
    return BatchLoader(plan, BatchBuilder(featurize, augment=False), workers=options.num_workers)
