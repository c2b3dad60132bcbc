"""The pre-flight: what can be trained on, what is left out and why, and when that is too much."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from funrecipe.audio.io import read_audio
from funrecipe.data.dataset_small import Inspection, ItemLimits, inspect_data_dir, report_lines
from funrecipe.data.kaldi_dir import Utterance
from funrecipe.errors import DataError
from funrecipe.model_folder import ModelFolder
from funrecipe.train.distributed import Ranks, wait_for_all
from funrecipe.train.initialize import extend_tokens
from funrecipe.train.options import TrainOptions
from funrecipe.train.references import ReferenceTokenizer, splitter_of

log = logging.getLogger(__name__)


def inspect_data(start: ModelFolder, options: TrainOptions, ranks: Ranks) -> tuple[Inspection, Inspection, ModelFolder]:
    """Pre-flight of both sets; the model's description, with a longer vocabulary where that is asked for.

    One rank measures first, the others then find its measurements in the cache.
    """
    data_dir, cache_dir = Path(options.data_dir), Path(options.output_dir) / "preflight"
    if not ranks.is_writer:
        wait_for_all(ranks)
    tokenizer = ReferenceTokenizer(start.tokens, splitter_of(start))
    train = inspect(data_dir / "train", start, options, tokenizer, cache_dir)
    folder = start
    if options.extend_vocab and tokenizer.unknown:
        tokens = extend_tokens(start.tokens, tokenizer.unknown)
        log.info(
            "extend_vocab: %d tokens added: %s", len(tokens) - len(start.tokens), " ".join(sorted(tokenizer.unknown))
        )
        folder = replace(start, tokens=tuple(tokens), config={**start.config, "token_list": tokens})
        tokenizer = ReferenceTokenizer(folder.tokens, splitter_of(folder))
        train = inspect(data_dir / "train", folder, options, tokenizer, cache_dir)
    valid = inspect(validation_dir(data_dir), folder, options, tokenizer, cache_dir)
    if len(valid.items) < ranks.world_size:
        raise DataError(
            f"{len(valid.items)} validation utterances for {ranks.world_size} processes", where=str(data_dir)
        )
    if ranks.is_writer:
        wait_for_all(ranks)
    return train, valid, folder


def inspect(
    data_dir: Path, folder: ModelFolder, options: TrainOptions, tokenizer: ReferenceTokenizer, cache_dir: Path
) -> Inspection:
    """Pre-flight of one directory: prints what it found, raises DataError when too much is bad."""
    frames_ms = ms_per_token(folder)
    limits = ItemLimits(options.min_ms, options.max_ms, 0, options.max_tokens, frames_ms)
    tokenizer.unknown.clear()
    found = inspect_data_dir(
        data_dir,
        tokenizer,
        make_measure(folder.sample_rate_hz),
        limits,
        cache_file=cache_dir / f"{data_dir.name}.durations.json",
        workers=max(1, options.num_workers),
    )
    for line in report_lines(found, tokenizer.unknown, data_dir):
        log.info(line)
    if not found.items:
        raise DataError(
            "no utterance can be used",
            where=str(data_dir),
            hint="; ".join(report_lines(found, Counter(), data_dir)[1:4]),
        )
    if found.bad_share > options.max_bad_share:
        raise DataError(
            f"{found.bad_share:.1%} of the utterances cannot be used",
            where=str(data_dir),
            hint="look at the reasons above; --max_bad_share 1 trains on the rest all the same",
        )
    return found


def make_measure(sample_rate_hz: int) -> Callable[[Utterance], tuple[float, str | None]]:
    """``utterance -> (duration_ms, fault)``: reads all of the audio, so that damage and NaN are found before training."""

    def measure(utterance: Utterance) -> tuple[float, str | None]:
        try:
            wave = read_audio(
                utterance.audio, sample_rate_hz=sample_rate_hz, start_s=utterance.start_s, end_s=utterance.end_s
            )
        except DataError as error:
            return 0.0, f"unreadable audio: {error.what}"
        if not np.isfinite(wave).all():
            return 0.0, "audio holds values that are not finite"
        return 1000.0 * len(wave) / sample_rate_hz, None

    return measure


def validation_dir(data_dir: Path) -> Path:
    """``validation/`` or ``dev/``. Raises DataError."""
    for name in ("validation", "dev", "valid"):
        if (data_dir / name).is_dir():
            return data_dir / name
    raise DataError(
        "no validation set",
        where=str(data_dir),
        hint="a folder 'validation' or 'dev' beside 'train', with wav.scp and text",
    )


def ms_per_token(folder: ModelFolder) -> float:
    """How much audio one encoder frame covers."""
    conf = folder.config.get("frontend_conf") or {}
    shift = float(conf.get("frame_shift", 10)) * int(conf.get("lfr_n", 1))
    subsampling = {"conv2d": 4, "conv2d6": 6, "conv2d8": 8}.get(
        (folder.config.get("encoder_conf") or {}).get("input_layer"), 1
    )
    return shift * subsampling
