"""Which values of settings fit each other, and which settings have no effect without another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from funrecipe.errors import UsageError, unknown_name
from funrecipe.families import FAMILIES, MARKED_TEXTS, SEGMENTS, TEXTS, TRANSCRIPTS
from funrecipe.ranges import ANY, AT_LEAST_ONE, COUNT, POSITIVE, SHARE

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
# What batch_bins counts. A model frame is a frame of the encoder, subsampling included: 60 ms for Paraformer (lfr_n 6),
# 40 ms for conv2d. FunASR says "frames" for several things: its small data set counts stacked features, its
# documentation speaks of filter-bank frames (10 ms), its large data set counts milliseconds.
BATCH_UNITS = ("model_frames", "fbank_frames", "ms", "tokens", "utterances")
DEFAULT_BATCH_UNIT = {"small": "model_frames", "large": "ms"}

# Setting -> (what must be given for it to have an effect, whether it is).
NEEDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "cache_mb": ("--dataset_type small", lambda o: o.dataset_type == "small"),
    "more_train_dirs": ("--dataset_type small", lambda o: o.dataset_type == "small"),
    "dataset_conf": ("--dataset_type large", lambda o: o.dataset_type == "large"),
    "prefetch_batches": ("--num_workers", lambda o: o.num_workers > 0),
    "noise_probability": ("--noise_scp", lambda o: bool(o.noise_scp)),
    "noise_snr_db": ("--noise_scp", lambda o: bool(o.noise_scp)),
    "reverb_probability": ("--rir_scp", lambda o: bool(o.rir_scp)),
    "specaug_conf": ("--specaug", lambda o: o.specaug is not None),
    "ignore_init_mismatch": ("--init_param", lambda o: bool(o.init_param)),
    "lora_alpha": ("--lora_rank", lambda o: o.lora_rank > 0),
    "lora_targets": ("--lora_rank", lambda o: o.lora_rank > 0),
    "phone_ctc_layer": ("--phone_ctc_weight", lambda o: o.phone_ctc_weight > 0),
    "scheduler_conf": ("--scheduler", lambda o: o.scheduler is not None),
    "grad_clip_type": ("--grad_clip", lambda o: o.grad_clip > 0),
    "val_scheduler_criterion": ("--scheduler reducelronplateau", lambda o: watches_plateau(o)),
    "early_stopping_criterion": ("--patience", lambda o: o.patience is not None),
    "valid_decode_utterances": ("--valid_decode true", lambda o: o.valid_decode),
}  # fmt: skip


# Kind of training data (families.py) -> settings that have no effect on it; units that batch_bins may count.
OF_SOUND = ("speed_perturb", "noise_scp", "rir_scp", "specaug", "min_ms", "max_ms")
OF_SPELLING = ("phone_ctc_weight", "share_pronunciations")
MEANINGLESS = {
    **dict.fromkeys((TEXTS, MARKED_TEXTS), OF_SOUND + OF_SPELLING),
    SEGMENTS: (*OF_SPELLING, "extend_vocab", "max_tokens", "model_conf"),
}
UNITS = {
    **dict.fromkeys((TEXTS, MARKED_TEXTS), ("tokens", "utterances")),
    SEGMENTS: ("model_frames", "fbank_frames", "ms", "utterances"),
}


def watches_plateau(options: Any) -> bool:
    """Whether the schedule looks at ``val_scheduler_criterion``."""
    return (options.scheduler or "").lower() == "reducelronplateau"


def check_choice(name: str, value: str, known: Collection[str]) -> None:
    """Raises UsageError with the nearest of the known values."""
    if value not in known:
        raise unknown_name(f"{name}: unknown value", value, known)


def check_groups(options: Any) -> None:
    """Raises UsageError for values that do not fit each other."""
    if len(options.val_scheduler_criterion) not in (2, 3):
        criterion = options.val_scheduler_criterion
        raise UsageError(f"val_scheduler_criterion is {criterion}", hint="give [phase, value], such as [valid, loss]")
    if not options.max_ms > options.min_ms:
        raise UsageError(f"max_ms: {options.max_ms:g} is not above min_ms, {options.min_ms:g}")
    if not options.speed_perturb:
        raise UsageError("speed_perturb is []", hint="give speeds: [0.9, 1.0, 1.1]")
    if len(options.noise_snr_db) != 2 or not options.noise_snr_db[0] <= options.noise_snr_db[1]:
        raise UsageError(f"noise_snr_db is {options.noise_snr_db}", hint="give the lowest and the highest: [5, 25]")


def check_effect(options: Any, flags: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse a flag that differs from its default and has no effect, because what it belongs to is off."""
    for name, (needed, is_on) in NEEDS.items():
        if name in flags and getattr(options, name) != defaults[name] and not is_on(options):
            raise UsageError(f"{name} has no effect without {needed}", hint=f"leave it out, or give {needed}")


def trained_on(family: str) -> str:
    """What the training data of a family are, one of ``families.TRANSCRIPTS`` and so on."""
    return FAMILIES[family].trained_on if family in FAMILIES else TRANSCRIPTS


def check_family(family: str, options: Any, flags: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise UsageError for settings that have no effect on models not trained on transcribed speech."""
    kind = trained_on(family)
    for name in MEANINGLESS.get(kind, ()):
        if name in flags and getattr(options, name) != defaults[name]:
            raise UsageError(f"{name} has no effect on models of family '{family}'", hint="leave it out")
    units = UNITS.get(kind, BATCH_UNITS)
    if options.unit not in units or (kind in UNITS and options.dataset_type != "small"):
        said = f"batch_unit {options.unit} and dataset_type {options.dataset_type}"
        raise UsageError(
            f"models of family '{family}' cannot be trained with {said}",
            hint=f"set batch_unit to {' or '.join(units)}, and dataset_type to small",
        )


def ranks_by_loss(config: Mapping[str, Any], model_conf: Mapping[str, Any]) -> bool:
    """Whether this model's training has no accuracy, so that epochs are ranked by the loss unless told otherwise."""
    row = FAMILIES.get(str(config.get("model")))
    ctc_alone = config.get("model") == "asr" and float(model_conf.get("ctc_weight", 0.5)) == 1
    return ctc_alone or (row is not None and not row.has_accuracy)


# Settings of optimizers and schedules that torch takes whatever they are.
CONF_RANGES = {"lr": POSITIVE, "momentum": SHARE, "warmup_steps": COUNT, "total_steps": AT_LEAST_ONE, "patience": COUNT}


def numbers(section: str, conf: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of an optimizer or a schedule; numbers that YAML reads as text (1e-8) become numbers.

    Raises:
        UsageError: a number that is not finite, or not in its range.
    """
    read = {}
    for name, value in conf.items():
        try:
            read[name] = float(value) if isinstance(value, str) else value
        except ValueError:
            read[name] = value
        if isinstance(read[name], (int, float)) and not isinstance(read[name], bool):
            CONF_RANGES.get(name, ANY).check(f"{section}: {name}", read[name])
    return read


def loss_setting(name: str, value: Any, kind: type) -> Any:
    """A value of ``model_conf`` as the type of its default. Raises UsageError."""
    try:
        if isinstance(value, bool) != (kind is bool):
            raise ValueError
        return kind(value)
    except (TypeError, ValueError):
        raise UsageError(f"model_conf: {name}: '{value}' is not of type {kind.__name__}") from None
