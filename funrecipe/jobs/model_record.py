"""The model of a run: recorded in the plan, checked by every worker."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funrecipe.decode.hotwords import read_hotwords, spell_hotwords
from funrecipe.decode.options import DecodeOptions, check_options, check_supported, check_weights
from funrecipe.errors import DataError, UsageError
from funrecipe.families import RECOGNITION, TIMESTAMP, find_family, not_a_recognizer
from funrecipe.hub import open_model
from funrecipe.identity import fingerprint, strict_stamp
from funrecipe.model_folder import ModelFolder, open_model_folder
from funrecipe.model_folder.checkpoints import find_checkpoint


@dataclass(frozen=True)
class ModelRecord:
    """The base folder, the weights in use (which may be elsewhere), and the SHA-256 of everything results depend on.

    Attributes:
        hotword: what the hotwords come from, if the model or the options name any; a file counts by its content.
        fingerprint: name -> SHA-256, see ``record_model``.
    """

    path: str
    weights: str
    fingerprint: dict[str, str]
    hotword: str | None = None
    sample_rate_hz: int = 16000
    frames_per_second: float = 100 / 6

    @property
    def weights_sha256(self) -> str:
        return self.fingerprint["weights"]


def choose_model(
    model: str,
    checkpoint_dir: Path | None,
    checkpoint_name: str,
    options: Mapping[str, Any],
    task: str = RECOGNITION,
) -> ModelRecord:
    """The model with the weights in use. Hotwords that the vocabulary cannot spell are reported now, because nobody
    reads the workers' logs.

    Raises:
        DataError: the folder or the checkpoint is not there; names the checkpoints that are.
        UsageError: an option that this family ignores.
    """
    folder = open_model(model)
    defaults = DecodeOptions.from_mapping(folder.decoding, where=f"{folder.path}/decoding.yaml")
    asked = DecodeOptions(**options).over(defaults)
    family = find_family(folder.family)
    if task == RECOGNITION and family.search is None:
        raise not_a_recognizer(folder.family, str(folder.path))
    if family.task != task and not (task == TIMESTAMP and "timestamp" in family.options):
        raise UsageError(
            f"a model of family '{folder.family}' is for {family.task}, not for {task}",
            where=str(folder.path),
            hint="give a model for this recipe (docs/models.md), or use the recipe for this model",
        )
    weights = find_checkpoint(checkpoint_dir, checkpoint_name) if checkpoint_dir else folder.weights
    if task == RECOGNITION:
        check_options(asked, folder)
        check_weights(folder, weights)
    else:
        check_supported(asked, folder.family)
    if words := read_hotwords(asked.hotword):
        spell_hotwords(words, folder.tokenizer)
    return record_model(folder, weights, asked.hotword)


def record_model(folder: ModelFolder, weights: Path, hotword: str | None) -> ModelRecord:
    """The model folder with ``weights`` laid over it; nothing is copied. Raises DataError where a file is empty."""
    files = _files(folder, weights, hotword)
    for name, path in files.items():
        if path is not None and name != "hotword" and path.is_file() and not path.stat().st_size:
            raise DataError("the file is empty", where=str(path), hint="copy or download the model again")
    digests = fingerprint(
        files,
        {"config": folder.config, "tokens": folder.tokens, "decoding": folder.decoding},
    )
    return ModelRecord(
        str(folder.path), str(weights), digests, hotword, folder.sample_rate_hz, folder.frames_per_second
    )


@contextmanager
def checked_model(record: ModelRecord) -> Iterator[ModelFolder]:
    """The folder of ``record``, to be loaded inside the block, if its contents are those of the plan before and after.

    Raises:
        DataError: a file is not the one that the plan was made with, or changed while it was loaded.
    """
    folder = open_model_folder(record.path)
    files = _files(folder, Path(record.weights), record.hotword)
    stamps = {name: strict_stamp(path) for name, path in files.items() if path is not None}
    now, planned = record_model(folder, Path(record.weights), record.hotword).fingerprint, record.fingerprint
    _refuse_changes(record, {name for name in {**now, **planned} if now.get(name) != planned.get(name)})
    yield folder
    _refuse_changes(record, {name for name, stamp in stamps.items() if strict_stamp(files[name] or "") != stamp})


def _refuse_changes(record: ModelRecord, names: set[str]) -> None:
    if names:
        what = f"the model has changed since the plan was made: {', '.join(sorted(names))}"
        raise DataError(what, where=record.path, hint="run stage 1 again")


def _files(folder: ModelFolder, weights: Path, hotword: str | None) -> dict[str, Path | None]:
    return {
        "weights": weights,
        "quantized": folder.quantized,
        "cmvn": folder.cmvn,
        "seg_dict": folder.seg_dict,
        "bpe_model": folder.bpe_model,
        "lm_weights": folder.lm_weights,
        "lm_config": folder.lm_config,
        "ngram": folder.ngram,
        "hotword": Path(hotword) if hotword and os.path.isfile(hotword) else None,
    }
