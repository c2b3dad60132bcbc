"""Every setting of training in one typed object, merged from layers.

A later layer wins: the defaults here, ``config.yaml`` of the model, its ``finetune.yaml``, a configuration file, the
command line. :func:`resolve` also says which layer each value comes from.
"""

from __future__ import annotations

import argparse
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from funrecipe.errors import UsageError, unknown_name
from funrecipe.families import MARKED_TEXTS, TEXTS
from funrecipe.model_folder.files import read_yaml
from funrecipe.model_folder.model_settings import check_model_conf
from funrecipe.ranges import AT_LEAST_ONE, COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range
from funrecipe.train.option_rules import (
    BATCH_UNITS,
    DEFAULT_BATCH_UNIT,
    PRECISIONS,
    check_choice,
    check_effect,
    check_family,
    check_groups,
    ranks_by_loss,
    trained_on,
)

Criterion = tuple[str, str, str]  # phase, value, min or max


def setting(default: Any, help_text: str, **metadata: Any) -> Any:
    """A field of :class:`TrainOptions`; its help is the command line's."""
    metadata["help"] = help_text
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def numeric(default: Any, allowed: Range, help_text: str) -> Any:
    """A field of :class:`TrainOptions` that holds a number, or several, of a range."""
    return setting(default, help_text, range=allowed)


@dataclass(frozen=True)
class TrainOptions:
    """All settings. Names are those of FunASR's trainer and of the recipe's flags."""

    # what and where
    model: str = setting("", "model folder or id to start from")
    config: str = setting("", "to train from scratch instead of --model: config.yaml with the architecture")
    token_list: str = setting("", "from scratch: tokens.txt, one token per line")
    cmvn_file: str = setting("", "from scratch: am.mvn, the feature statistics")
    pretrained: str = setting("", "from scratch: folder or id of a pre-trained encoder (data2vec) to start from")
    data_dir: str = setting("", "folder with train/ and validation/ (or dev/), each with wav.scp and text")
    more_train_dirs: list[str] = setting(list, "additional training sets, each a folder with wav.scp and text")
    output_dir: str = setting("./checkpoint", "folder for checkpoints, logs and averages")
    # data
    dataset_type: str = setting("small", "small: the list is kept in memory; large: data are streamed from shards")
    batch_bins: float = numeric(2000.0, POSITIVE, "size of a batch in batch_unit, padding included, for each process")
    batch_unit: str = setting(
        "",
        "model_frames (of the encoder: 60 ms for Paraformer, 40 ms for conv2d), fbank_frames (10 ms), ms, tokens "
        "or utterances; empty: model_frames for small data, ms for large data",
    )
    num_workers: int = numeric(
        1,
        Range(0, 1024, is_whole=True),
        "threads (for a GPU: processes) that read audio and compute features; 0: the training thread",
    )
    prefetch_batches: int = numeric(4, Range(1, 1000, is_whole=True), "batches computed ahead")
    cache_mb: int = numeric(
        512, COUNT, "memory for cached features, in MB (small data without noise and reverberation)"
    )
    min_ms: float = numeric(100.0, NOT_NEGATIVE, "utterances of this duration or shorter are dropped, in ms")
    max_ms: float = numeric(30000.0, POSITIVE, "utterances of this duration or longer are dropped, in ms")
    max_tokens: int = numeric(200, AT_LEAST_ONE, "utterances with this many tokens or more are dropped")
    max_bad_share: float = numeric(0.1, SHARE, "stop if more than this share of the utterances cannot be used")
    passes_per_epoch: int = numeric(
        1, Range(1, 10_000, is_whole=True), "passes over the data in one epoch (each epoch ends with a validation)"
    )
    dataset_conf: dict[str, Any] = setting(
        dict, "large data: data_types, shuffle, shuffle_conf{shuffle_size, sort_size}"
    )
    # augmentation
    speed_perturb: list[float] = numeric(
        lambda: [1.0], Range(0.1, 10), "speeds, one drawn for each utterance, e.g. [0.9, 1.0, 1.1]"
    )
    noise_scp: str = setting("", "list of noise recordings, one 'ID PATH' per line")
    noise_probability: float = numeric(0.5, SHARE, "share of the utterances that noise is added to")
    noise_snr_db: list[float] = numeric(
        lambda: [5.0, 25.0], Range(-200, 200), "range of the signal-to-noise ratio, in dB"
    )
    rir_scp: str = setting("", "list of room impulse responses, one 'ID PATH' per line")
    reverb_probability: float = numeric(0.5, SHARE, "share of the utterances that reverberation is added to")
    specaug: str | None = setting(None, "feature masking: specaug, specaug_lfr or none")
    specaug_conf: dict[str, Any] = setting(dict, "settings of the feature masking")
    # model
    model_conf: dict[str, Any] = setting(
        dict, "loss settings (ctc_weight, lsm_weight, ...), merged over those of config.yaml"
    )
    init_param: list[str] = setting(
        list, "weights to load over the model's: PATH[:SOURCE_PREFIX[:TARGET_PREFIX[:EXCLUDED_PREFIXES]]]"
    )
    ignore_init_mismatch: bool = setting(False, "init_param: skip tensors whose shape differs instead of stopping")
    freeze_param: list[str] = setting(list, "prefixes of the parameters that are not trained")
    extend_vocab: bool = setting(False, "add unknown characters of the training texts to the vocabulary")
    lora_rank: int = numeric(0, COUNT, "train low-rank additions of this rank instead of the weights; 0: off")
    lora_alpha: float = numeric(16.0, POSITIVE, "the additions are scaled by lora_alpha / lora_rank")
    lora_targets: list[str] = setting(
        lambda: ["linear_q_k_v", "linear_q", "linear_k_v", "linear_out"],
        "names of the linear layers that get additions",
    )
    phone_ctc_weight: float = numeric(
        0.0, NOT_NEGATIVE, "weight of an auxiliary CTC over initials and finals (for little data; needs pypinyin)"
    )
    phone_ctc_layer: int = numeric(0, COUNT, "encoder block that the phone CTC reads, from 1; 0: the last but one")
    share_pronunciations: bool = setting(
        False, "characters that sound alike share a part of the output layers (for little data; needs pypinyin)"
    )
    # optimization
    max_epoch: int = numeric(50, Range(1, 1_000_000, is_whole=True), "number of epochs")
    max_steps: int = numeric(0, COUNT, "stop after this many updates; 0: no limit")
    accum_grad: int = numeric(1, AT_LEAST_ONE, "number of batches whose gradients are accumulated for one update")
    optim: str = setting("adam", "optimizer: adam, adamw, sgd, ...")
    optim_conf: dict[str, Any] = setting(dict, "settings of the optimizer")
    lr: float | None = numeric(None, POSITIVE, "learning rate; overrides the one in optim_conf")
    scheduler: str | None = setting(
        None, "learning rate schedule: warmuplr, noamlr, linear, reducelronplateau, ... or none"
    )
    scheduler_conf: dict[str, Any] = setting(dict, "settings of the schedule")
    grad_clip: float = numeric(5.0, NOT_NEGATIVE, "gradients are clipped to this norm; 0: no clipping")
    grad_clip_type: float = numeric(2.0, POSITIVE, "order of the norm of grad_clip")
    precision: str = setting(
        "fp32", "fp32, bf16, fp16 (GPU only), or auto: bf16 where the device is faster with it, otherwise fp32"
    )
    seed: int = numeric(0, Range(-(1 << 63), (1 << 63) - 1, is_whole=True), "random seed")
    # validation, checkpoints
    best_model_criterion: list[Criterion] = setting(
        lambda: [("valid", "acc", "max")],
        "[[phase, value, min|max], ...]: what ranks epochs for averaging; [[valid, loss, min]] if there is no accuracy",
    )
    val_scheduler_criterion: list[str] = setting(
        lambda: ["valid", "loss"], "[phase, value] that the schedule reducelronplateau watches"
    )
    early_stopping_criterion: Criterion = setting(
        ("valid", "loss", "min"), "[phase, value, min|max] that patience applies to"
    )
    patience: int | None = numeric(None, COUNT, "stop after this many epochs without improvement")
    keep_nbest_models: int = numeric(10, AT_LEAST_ONE, "number of epochs that are kept and averaged")
    valid_decode: bool = setting(True, "decode the validation set after each epoch (cer_decode, f1_any, frame_error)")
    valid_decode_utterances: int = numeric(200, COUNT, "decode at most this many validation utterances; 0: all")
    save_interval: int = numeric(
        500, COUNT, "updates between checkpoints within an epoch; 0: only at the end of an epoch"
    )
    log_interval: int = numeric(50, AT_LEAST_ONE, "batches between log lines")
    resume: bool = setting(True, "resume from checkpoint.pb in output_dir if there is one")
    accept_changed_data: bool = setting(
        False, "resume although the data have changed; epochs before and after the change are ranked separately"
    )
    # processes
    num_gpus: int = numeric(0, COUNT, "number of GPUs to use; 0: CPU")
    process_timeout_s: float = numeric(
        600.0, Range(0, 1e8, excludes_low=True), "abort if a rank does not respond within this many seconds"
    )

    def __post_init__(self) -> None:
        check_choice("dataset_type", self.dataset_type, ("small", "large"))
        check_choice("precision", self.precision, PRECISIONS)
        if self.batch_unit:
            check_choice("batch_unit", self.batch_unit, BATCH_UNITS)
        for name, allowed in RANGES.items():
            value = getattr(self, name)
            for number in value if isinstance(value, list) else [] if value is None else [value]:
                allowed.check(name, number)
        check_groups(self)
        if self.precision == "fp16" and self.num_gpus == 0:
            raise UsageError("precision fp16 works on a GPU only", hint="use bf16 or fp32 on the CPU")
        if self.share_pronunciations and self.lora_rank:
            raise UsageError(
                "share_pronunciations and lora_rank cannot be combined",
                hint="leave one out: the first trains what the second freezes",
            )
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
RANGES: dict[str, Range] = {name: f.metadata["range"] for name, f in KNOWN.items() if "range" in f.metadata}
TYPES = typing.get_type_hints(TrainOptions)
DEFAULTS = TrainOptions()

# Settings of one run, and keys of a model's architecture: not taken from config.yaml or finetune.yaml.
NOT_FROM_FILES = {
    *("model", "config", "token_list", "cmvn_file", "pretrained", "data_dir", "more_train_dirs", "output_dir"),
    *("resume", "accept_changed_data", "max_steps", "extend_vocab", "init_param", "num_gpus", "init", "input_size"),
    *("frontend", "frontend_conf", "encoder", "encoder_conf", "decoder", "decoder_conf", "predictor"),
    "predictor_conf",
}
# Keys of finetune.yaml that are read elsewhere or that can have one meaning only here.
HARMLESS = {"unused_parameters", "batch_type", "normalize", "normalize_conf", "train_data_path_and_name_and_type"}
# Settings that have an ``X_conf``, which is only valid for that choice of X.
OWNERS = ("optim", "scheduler", "specaug")
COMMAND_LINE = "command line"


class Layer(NamedTuple):
    """One source of settings: its name as the log gives it, and its values, each of the type of its setting."""

    name: str
    values: Mapping[str, Any]


class Setting(NamedTuple):
    """A value in force, the layers that it comes from, and what it replaced (empty if that was a default)."""

    value: Any
    source: str
    instead_of: str = ""


class Settings(NamedTuple):
    """The options of a run, and for each of them the value with its source."""

    options: TrainOptions
    trace: Mapping[str, Setting]


def merge_layers(layers: Sequence[Layer]) -> dict[str, Setting]:
    """Overlay ``layers``, the last one wins. Mappings are merged, unless the layer replaces what they configure."""
    merged = {f.name: Setting(getattr(DEFAULTS, f.name), "default") for f in fields(TrainOptions)}
    for layer in layers:
        for owner in OWNERS:
            if owner in layer.values and merged[owner].value not in (None, layer.values[owner]):
                merged[f"{owner}_conf"] = Setting({}, "default")  # settings of what this layer replaces
        for name, value in layer.values.items():
            before = merged[name]
            if isinstance(value, dict) and before.value:
                merged[name] = Setting({**before.value, **value}, f"{before.source}, {layer.name}")
            else:
                replaces = before.source != "default" and before.value != value
                merged[name] = Setting(value, layer.name, f"{as_text(before.value)} ({before.source})" * replaces)
    return merged


def resolve(
    config: Mapping[str, Any],
    finetune: Mapping[str, Any],
    flags: Mapping[str, Any],
    *,
    config_name: str = "config.yaml",
    flags_name: str = COMMAND_LINE,
    from_file: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of a run and where each comes from.

    Args:
        config: ``config.yaml`` of the model; keys that are not settings are left to the model.
        finetune: ``finetune.yaml`` of the model; a key that is neither a setting nor part of a model is refused.
        flags: from the command line or a script; every key must be a setting.
        config_name, flags_name: what the log calls ``config`` and ``flags``.
        from_file: flag -> configuration file, for flags that a recipe read from a file.

    Raises:
        UsageError: an unknown key or a value of the wrong type.
    """
    for name in finetune:
        if name not in KNOWN and name not in config and name not in NOT_FROM_FILES | HARMLESS:
            raise unknown_name("finetune.yaml: no setting", name, KNOWN)
    for name in flags:
        if name not in KNOWN:
            raise unknown_name("no setting", name, KNOWN)
    files = {name: file for name, file in (from_file or {}).items() if name in flags}
    layers = [
        Layer(config_name, from_model_file(config, config_name)),
        Layer("finetune.yaml", from_model_file(finetune, "finetune.yaml")),
        *(
            Layer(file, {n: convert(n, flags[n], TYPES[n]) for n in flags if files.get(n) == file})
            for file in sorted(set(files.values()))
        ),
        Layer(flags_name, {n: convert(n, value, TYPES[n]) for n, value in flags.items() if n not in files}),
    ]
    merged = merge_layers(layers)
    if merged["best_model_criterion"].source == "default" and ranks_by_loss(config, merged["model_conf"].value):
        merged["best_model_criterion"] = Setting([("valid", "loss", "min")], "default of this model")
    family = str(config.get("model") or "asr")
    if merged["batch_unit"].source == "default" and trained_on(family) in (TEXTS, MARKED_TEXTS):
        merged["batch_unit"] = Setting("tokens", "default of this model")
    options = TrainOptions(**{name: setting.value for name, setting in merged.items()})
    check_effect(options, flags, vars(DEFAULTS))
    check_family(family, options, flags, vars(DEFAULTS))
    check_model_conf(family, options.model_conf, merged["model_conf"].source)
    return Settings(options, merged)


def build_options(config: Mapping[str, Any], finetune: Mapping[str, Any], flags: Mapping[str, Any]) -> TrainOptions:
    """The options of :func:`resolve` alone."""
    return resolve(config, finetune, flags).options


def from_model_file(values: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The settings among the keys of a model's file."""
    return {
        name: convert(f"{file}: {name}", value, TYPES[name])
        for name, value in values.items()
        if name in KNOWN and name not in NOT_FROM_FILES
    }


def as_text(value: Any) -> str:
    """A value as it can be written on the command line."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def settings_lines(settings: Settings) -> list[str]:
    """One line for each setting that is not at its default, with its source, and one line for all others."""
    changed = {name: s for name, s in settings.trace.items() if s.instead_of or s.value != getattr(DEFAULTS, name)}
    lines = [
        f"{name}: {as_text(s.value)} ({s.source}{', instead of ' + s.instead_of if s.instead_of else ''})"
        for name, s in changed.items()
    ]
    defaults = [f"{name}: {as_text(s.value)}" for name, s in settings.trace.items() if name not in changed]
    return [*lines, f"defaults: {', '.join(defaults)}"]


def read_yaml_file(path: Path) -> dict[str, Any]:
    """A YAML mapping, or {} if there is no such file. Raises DataError or UnsafeFileError."""
    return read_yaml(path) if path.is_file() else {}


def add_option_arguments(parser: argparse.ArgumentParser) -> None:
    """One ``--name VALUE`` for every setting; values are YAML, so lists and mappings can be given in one word."""
    for name, f in KNOWN.items():
        text = f"{f.metadata['help']} (default {as_text(getattr(DEFAULTS, name))})"
        parser.add_argument(f"--{name}", default=None, metavar="VALUE", help=text.replace("%", "%%"))


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


def setting_of_run(output_dir: Path, name: str, default: Any) -> Any:
    """A setting in the ``config.yaml`` of a run, or the default if there is no run yet."""
    value = read_yaml_file(output_dir / "config.yaml").get(name)
    return convert(f"{output_dir}/config.yaml: {name}", value, TYPES[name]) if value else default
