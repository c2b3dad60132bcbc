"""Every setting of training in one typed object: command line > finetune.yaml > config.yaml > the defaults here."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from funrecipe.errors import DataError, UsageError, did_you_mean
from funrecipe.train.data.batching import BATCH_UNITS, DEFAULT_BATCH_UNIT
from funrecipe.train.model_settings import check_model_conf
from funrecipe.train.option_rules import PRECISIONS, check_choice, check_effect, check_ranges, ranks_by_loss

Criterion = tuple[str, str, str]  # phase, value, min or max


def setting(default: Any, help_text: str) -> Any:
    """A field of :class:`TrainOptions`; its help is the command line's."""
    if callable(default):
        return field(default_factory=default, metadata={"help": help_text})
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class TrainOptions:
    """All settings. Names are those of FunASR's trainer and of the recipe's flags."""

    # what and where
    model: str = setting("", "model folder to start from")
    config: str = setting("", "from scratch, in place of --model: config.yaml with the architecture")
    token_list: str = setting("", "from scratch: tokens.txt, one token a line")
    cmvn_file: str = setting("", "from scratch: am.mvn")
    pretrained: str = setting("", "from scratch: folder of a pre-trained encoder (data2vec) to start from")
    data_dir: str = setting("", "holds train/ and validation/ (or dev/), each with wav.scp and text")
    more_train_dirs: list[str] = setting(list, "further training sets, each a folder with wav.scp and text")
    output_dir: str = setting("./checkpoint", "checkpoints, logs and averages are written here")
    # data
    dataset_type: str = setting("small", "small: listed in memory; large: streamed from shards")
    batch_bins: float = setting(2000.0, "size of a batch, padding included, in batch_unit; per process")
    batch_unit: str = setting(
        "",
        "model_frames (60 ms when lfr_n is 6), fbank_frames (10 ms), ms, tokens or utterances; "
        "default model_frames for small, ms for large",
    )
    num_workers: int = setting(1, "threads that read audio and compute features; 0: the training thread itself")
    prefetch_batches: int = setting(4, "batches computed ahead")
    cache_mb: int = setting(512, "memory for features of small data without noise and reverberation")
    min_ms: float = setting(100.0, "utterances not longer than this are dropped")
    max_ms: float = setting(30000.0, "utterances not shorter than this are dropped")
    max_tokens: int = setting(200, "utterances with this many tokens or more are dropped")
    max_bad_share: float = setting(0.1, "stop when more than this share of the utterances cannot be used")
    passes_per_epoch: int = setting(1, "passes over the data in one epoch (validation after each epoch)")
    dataset_conf: dict[str, Any] = setting(dict, "large: data_types, shuffle_conf{shuffle_size, sort_size}")
    # augmentation
    speed_perturb: list[float] = setting(lambda: [1.0], "speeds, one drawn for every utterance, as [0.9, 1.0, 1.1]")
    noise_scp: str = setting("", "list of noise recordings, one 'ID PATH' a line")
    noise_probability: float = setting(0.5, "share of utterances that get noise")
    noise_snr_db: list[float] = setting(lambda: [5.0, 25.0], "range of the signal-to-noise ratio")
    rir_scp: str = setting("", "list of room responses")
    reverb_probability: float = setting(0.5, "share of utterances that get reverberation")
    specaug: str | None = setting(None, "specaug, specaug_lfr or none")
    specaug_conf: dict[str, Any] = setting(dict, "settings of specaug")
    # model
    model_conf: dict[str, Any] = setting(
        dict, "weights of the losses (ctc_weight, lsm_weight, ...), over those of config.yaml"
    )
    init_param: list[str] = setting(list, "further weights: PATH[:SOURCE_PREFIX[:TARGET_PREFIX[:EXCLUDED_PREFIXES]]]")
    ignore_init_mismatch: bool = setting(False, "init_param: leave out tensors of another shape instead of stopping")
    freeze_param: list[str] = setting(list, "prefixes of parameters that stay as they are")
    extend_vocab: bool = setting(False, "add the training text's unknown characters to the vocabulary")
    lora_rank: int = setting(0, "train low-rank additions of this rank instead of the weights; 0: off")
    lora_alpha: float = setting(16.0, "scale of the additions: alpha / rank")
    lora_targets: list[str] = setting(
        lambda: ["linear_q_k_v", "linear_q", "linear_k_v", "linear_out"], "names of the linear layers they are added to"
    )
    phone_ctc_weight: float = setting(
        0.0, "weight of an auxiliary CTC over initials and finals (small data; needs pypinyin)"
    )
    phone_ctc_layer: int = setting(0, "encoder block it reads, counted from 1; 0: the block before the last")
    share_pronunciations: bool = setting(
        False, "output layers: characters that sound alike share a part (small data; needs pypinyin)"
    )
    # optimisation
    max_epoch: int = setting(50, "number of epochs")
    max_steps: int = setting(0, "stop after this many updates; 0: no limit")
    accum_grad: int = setting(1, "batches whose gradients are added up for one update")
    optim: str = setting("adam", "optimiser")
    optim_conf: dict[str, Any] = setting(dict, "its settings")
    lr: float | None = setting(None, "learning rate, over optim_conf's")
    scheduler: str | None = setting(None, "warmuplr, noamlr, linear, reducelronplateau, ... or none")
    scheduler_conf: dict[str, Any] = setting(dict, "its settings")
    grad_clip: float = setting(5.0, "largest norm of the gradient; 0: no limit")
    grad_clip_type: float = setting(2.0, "order of that norm")
    precision: str = setting("fp32", "fp32, bf16 or fp16 (GPU only)")
    seed: int = setting(0, "of every random choice")
    # validation, checkpoints
    best_model_criterion: list[Criterion] = setting(
        lambda: [("valid", "acc", "max")],
        "[[phase, value, min|max], ...] ranks epochs for averages; of models without accuracy valid, loss, min",
    )
    val_scheduler_criterion: list[str] = setting(
        lambda: ["valid", "loss"], "[phase, value] that reducelronplateau watches"
    )
    early_stopping_criterion: Criterion = setting(
        ("valid", "loss", "min"), "[phase, value, min|max] that patience watches"
    )
    patience: int | None = setting(None, "stop after this many epochs without improvement")
    keep_nbest_models: int = setting(10, "epochs kept and averaged")
    valid_decode: bool = setting(True, "decode the validation set after each epoch (cer_decode)")
    valid_decode_utterances: int = setting(200, "at most this many utterances are decoded; 0: all")
    save_interval: int = setting(500, "updates between checkpoints inside an epoch; 0: only at its end")
    log_interval: int = setting(50, "batches between log lines")
    resume: bool = setting(True, "go on from checkpoint.pb in output_dir")
    # processes
    num_gpus: int = setting(0, "GPUs to use; 0: CPU")
    process_timeout_s: float = setting(600.0, "a rank that does not answer for so long ends the others")

    def __post_init__(self) -> None:
        check_choice("dataset_type", self.dataset_type, ("small", "large"))
        check_choice("precision", self.precision, PRECISIONS)
        if self.batch_unit:
            check_choice("batch_unit", self.batch_unit, BATCH_UNITS)
        check_ranges(self)
        if self.precision == "fp16" and self.num_gpus == 0:
            raise UsageError("precision fp16 works on a GPU only", hint="bf16 or fp32 on the CPU")
        if self.share_pronunciations and self.lora_rank:
            raise UsageError("share_pronunciations does not go with lora_rank: one trains what the other freezes")
        for phase, _, mode in (*self.best_model_criterion, self.early_stopping_criterion):
            check_choice("phase of a criterion", phase, ("train", "valid"))
            check_choice("mode of a criterion", mode, ("min", "max"))

    @property
    def unit(self) -> str:
        return self.batch_unit or DEFAULT_BATCH_UNIT[self.dataset_type]

    @property
    def learning_rate_conf(self) -> dict[str, Any]:
        return {**self.optim_conf, **({} if self.lr is None else {"lr": self.lr})}


def convert(name: str, value: Any, wanted: Any) -> Any:
    """A YAML value as the type that a field declares. Raises UsageError."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if type(None) in parts:
        if value is None or value in ("none", "null", ""):
            return None
        return convert(name, value, next(p for p in parts if p is not type(None)))
    try:
        if wanted is bool:
            if not isinstance(value, bool):
                raise ValueError
            return value
        if wanted in (int, float):
            if isinstance(value, bool) or (wanted is int and float(value) != int(float(value))):
                raise ValueError
            return wanted(float(value))
        if wanted is str:
            return "" if value is None else str(value)
        if origin is dict:
            return dict(value or {})
        if origin is list:
            values = [] if value is None else [value] if isinstance(value, (str, int, float)) else list(value)
            if parts[0] == Criterion and values and all(isinstance(v, str) and "," not in v for v in values):
                values = [values]  # one criterion without the outer brackets
            return [convert(name, v, parts[0]) for v in values]
        if origin is tuple:
            value = value.replace(",", " ").split() if isinstance(value, str) else value
            if len(value) != len(parts):
                raise ValueError
            return tuple(str(v) for v in value)
    except (TypeError, ValueError, OverflowError):
        kind = getattr(wanted, "__name__", None) if origin is None else str(wanted)
        raise UsageError(f"{name}: '{value}' is not of type {kind}") from None
    raise AssertionError(f"no conversion to {wanted}")


KNOWN = {f.name: f for f in fields(TrainOptions)}
TYPES = typing.get_type_hints(TrainOptions)

# Not taken from files: they belong to one run, or they are a model's and no setting of training.
NOT_FROM_FILES = {
    "model",
    "config",
    "token_list",
    "cmvn_file",
    "pretrained",
    "data_dir",
    "more_train_dirs",
    "output_dir",
    "resume",
    "max_steps",
    "extend_vocab",
    "init_param",
    "num_gpus",
    "init",
    "input_size",
    "frontend",
    "frontend_conf",
    "encoder",
    "encoder_conf",
    "decoder",
    "decoder_conf",
    "predictor",
    "predictor_conf",
}
# Keys of finetune.yaml that are read elsewhere or that have one meaning only here.
HARMLESS = {"unused_parameters", "batch_type", "normalize", "normalize_conf", "train_data_path_and_name_and_type"}


def build_options(config: Mapping[str, Any], finetune: Mapping[str, Any], flags: Mapping[str, Any]) -> TrainOptions:
    """Overlay three sources. Nested ``*_conf`` are replaced as a whole only when the thing they configure changes.

    Args:
        config: ``config.yaml`` of the model; keys that are no settings pass unread.
        finetune: ``finetune.yaml``; a key that is neither a setting nor part of a model is refused.
        flags: from the command line; every key must be a setting.

    Raises:
        UsageError: an unknown key or a value of the wrong type.
    """
    for name in finetune:
        if name not in KNOWN and name not in config and name not in NOT_FROM_FILES | HARMLESS:
            raise UsageError(f"finetune.yaml: no setting '{name}'", hint=did_you_mean(name, KNOWN))
    for name in flags:
        if name not in KNOWN:
            raise UsageError(f"no setting '{name}'", hint=did_you_mean(name, KNOWN))
    merged: dict[str, Any] = {}
    for source, values in (("config.yaml", config), ("finetune.yaml", finetune), ("", flags)):
        for name, value in values.items():
            if name not in KNOWN or (source and name in NOT_FROM_FILES):
                continue
            value = convert(f"{source}: {name}" if source else name, value, TYPES[name])
            owner = name.removesuffix("_conf")
            same_owner = (
                owner == name or owner not in values or values[owner] == merged.get(f"{owner}__was", values[owner])
            )
            if isinstance(value, dict) and isinstance(merged.get(name), dict) and same_owner:
                value = {**merged[name], **value}
            merged[name] = value
        for owner in ("optim", "scheduler", "specaug"):
            if (
                owner in values
                and merged.get(f"{owner}__was") not in (None, merged[owner])
                and f"{owner}_conf" not in values
            ):
                merged[f"{owner}_conf"] = {}  # settings of the thing that was replaced
            if owner in merged:
                merged[f"{owner}__was"] = merged[owner]
    if "best_model_criterion" not in merged and ranks_by_loss(config, merged.get("model_conf", {})):
        merged["best_model_criterion"] = [("valid", "loss", "min")]
    options = TrainOptions(**{name: value for name, value in merged.items() if name in KNOWN})
    check_effect(options, flags, vars(TrainOptions()))
    check_model_conf(str(config.get("model") or "asr"), {**(config.get("model_conf") or {}), **options.model_conf})
    return options


def read_yaml_file(path: Path) -> dict[str, Any]:
    """A YAML mapping, or {} when there is no such file. Raises DataError."""
    if not path.is_file():
        return {}
    try:
        loaded = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise DataError(f"not valid YAML: {error}", where=str(path)) from None
    if loaded is not None and not isinstance(loaded, dict):
        raise DataError("expected 'key: value' lines", where=str(path))
    return loaded or {}


def add_option_arguments(parser: argparse.ArgumentParser) -> None:
    """One ``--name VALUE`` for every setting; values are YAML, so lists and mappings can be given in one word."""
    for name, f in KNOWN.items():
        default = (
            f.default
            if f.default_factory is typing.cast(Any, fields(TrainOptions)[0].default_factory)
            else f.default_factory()
        )
        parser.add_argument(
            f"--{name}",
            default=None,
            metavar="VALUE",
            help=f"{f.metadata['help']} (default {default!r})".replace("%", "%%"),
        )


def flags_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings given on the command line."""
    given = {name: getattr(args, name, None) for name in KNOWN}
    return {name: parse_flag(name, text) for name, text in given.items() if text is not None}


def parse_flag(name: str, text: Any) -> Any:
    """The value of a flag: YAML where the setting is not plain text; lists may be words. Raises UsageError."""
    if not isinstance(text, str) or TYPES[name] is str:
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--{name}: '{text}' is not YAML: {error}") from None
    if typing.get_origin(TYPES[name]) is list and isinstance(value, str):
        return [part for part in value.replace(",", " ").split() if part]
    return value
