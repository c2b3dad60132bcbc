"""``build_trainer``, ``Trainers``, ``modelscope_args``, ``ASRDataset``: the names of ModelScope's fine-tuning scripts.

Every parameter is either used or refused with a UsageError; none is dropped. The precedence is that of
``funrecipe train``: the script, then ``finetune.yaml`` of the model folder, then its ``config.yaml``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from funrecipe.errors import DataError, UsageError, unknown_name

DEFAULT_MODEL = "damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-pytorch"
# ModelScope's names -> ours; None: accepted, with nothing to do here.
ALIASES = {"work_dir": "output_dir", "data_path": "data_dir", "model_revision": None, "task": None}
REVISIONS = (None, "", "master")


class Trainers:
    """Names of trainers; only this one exists here."""

    speech_asr_trainer = "speech-asr-trainer"


class ASRDataset(dict):
    """``{"train": folder, "validation": folder}`` of a folder with ``train/`` and ``validation/`` (or ``dev/``)."""

    path: Path

    @classmethod
    def load(cls, data_path: str | Path, namespace: str | None = None, **unsupported: Any) -> ASRDataset:
        """Find the sets of a local data directory.

        Args:
            namespace: part of ModelScope's call; data sets of the hub are not downloaded.

        Raises:
            DataError: no such folder, or a set is missing. UsageError: not the name of a folder, or another argument.
        """
        if unsupported:
            raise UsageError(f"ASRDataset.load: no argument {', '.join(sorted(unsupported))}")
        if not isinstance(data_path, (str, Path)) or not str(data_path):
            raise UsageError(f"data_path is {data_path!r:.80}", where="ASRDataset.load", hint="give a folder")
        from funrecipe.train.data.folders import TRAIN_FOLDER, validation_dir

        folder = Path(data_path)
        if not folder.is_dir():
            raise DataError(
                f"no data directory '{data_path}'",
                hint="give a folder with train/ and validation/, each with wav.scp and text; "
                "data sets of the ModelScope hub are not downloaded",
            )
        sets = {"train": folder / TRAIN_FOLDER, "validation": validation_dir(folder)}
        for name, path in sets.items():
            if not any((path / file).is_file() for file in ("wav.scp", "text")):  # punctuation models need no audio
                raise DataError(f"the {name} set has no wav.scp and no text", where=str(path))
        dataset = cls({name: str(path) for name, path in sets.items()})
        dataset.path = folder
        return dataset


class modelscope_args:  # noqa: N801  (the name that scripts use)
    """An open set of parameters. None, the default, leaves a setting to the model's finetune.yaml and config.yaml."""

    def __init__(
        self,
        task: str = "",
        model: str = DEFAULT_MODEL,
        data_path: str | None = None,
        output_dir: str | None = None,
        model_revision: str | None = None,
        dataset_type: str | None = None,
        batch_bins: float | None = None,
        max_epoch: int | None = None,
        accum_grad: int | None = None,
        keep_nbest_models: int | None = None,
        optim: str | None = None,
        lr: float | None = None,
        scheduler: str | None = None,
        scheduler_conf: Mapping[str, Any] | None = None,
        specaug: str | None = None,
        specaug_conf: Mapping[str, Any] | None = None,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})


def build_trainer(
    name: str = Trainers.speech_asr_trainer, default_args: Mapping[str, Any] | None = None
) -> SpeechTrainer:
    """The trainer ``name`` with its parameters; see :class:`SpeechTrainer`."""
    if name != Trainers.speech_asr_trainer:
        raise UsageError(f"no trainer '{name}'", hint=f"use {Trainers.speech_asr_trainer}")
    return SpeechTrainer(**dict(default_args or {}))


class SpeechTrainer:
    """One fine-tuning run. Arguments: ModelScope's (``model data_dir work_dir dataset_type batch_bins max_epoch lr
    ...``) and every setting of ``funrecipe train``, as a value or as the text of its flag; None leaves a setting to the
    model's files.

    Without a launcher it uses one GPU if there is one, under ``torchrun`` or ``torch.distributed.launch`` one per
    process.
    """

    def __init__(self, **arguments: Any) -> None:
        from funrecipe.train.options import KNOWN, parse_flag

        self.flags: dict[str, Any] = {}
        mate = arguments.pop("mate_params", None) or {}
        for name, value in {**mate, **arguments}.items():
            target = ALIASES.get(name, name)
            if name == "model_revision" and value not in REVISIONS:
                raise UsageError(
                    f"model_revision '{value}': a model on disk is used as it is",
                    hint="get another revision with: funrecipe download MODEL --revision REVISION",
                )
            if target is None or value is None:
                continue
            if target not in KNOWN:
                raise unknown_name("build_trainer: no parameter", name, [*KNOWN, *ALIASES])
            self.flags[target] = parse_flag(target, value)
        data = self.flags.get("data_dir")
        if isinstance(data, ASRDataset):
            self.flags["data_dir"] = str(data.path)
        elif not isinstance(data, (str, Path)):
            raise UsageError(
                "build_trainer: data_dir is missing or of the wrong kind",
                hint="give a folder, or what ASRDataset.load returns",
            )
        self.flags.setdefault("output_dir", "./checkpoint")
        self.flags["data_dir"] = str(self.flags["data_dir"])
        self.flags.setdefault("num_gpus", default_gpus())

    def train(self) -> None:
        """Run to the end; checkpoints and averages are then in ``work_dir``. Raises FunrecipeError."""
        from funrecipe.train.run import train

        train(self.flags, source="script")


def default_gpus() -> int:
    import torch

    return 1 if torch.cuda.is_available() else 0


def launcher_arguments(parser: argparse.ArgumentParser) -> None:
    """Accept what launchers append: ``--local-rank``, before torch 2 ``--local_rank``; the environment says it too."""
    parser.add_argument("--local-rank", "--local_rank", type=int, dest="local_rank", help=argparse.SUPPRESS)


def training_settings() -> set[str]:
    """Names of all settings that :class:`SpeechTrainer` takes."""
    from funrecipe.train.options import KNOWN

    return set(KNOWN)
