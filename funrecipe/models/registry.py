"""From a configuration to a model: one function builds it, one checks the settings of a component."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from funrecipe.errors import UsageError, unknown_name
from funrecipe.families import find_family, load_part
from funrecipe.ranges import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE

SIMPLE_TYPES = {"int", "float", "bool", "str", "None"}
MAX_LAYERS, MAX_SIZE = 512, 1_000_000  # upper bounds of settings, checked before memory is allocated
# Setting of a component -> the numbers that it may be; those with "drop" in their names are shares.
RANGES = {
    **dict.fromkeys(("attention_heads", "output_size", "linear_units", "kernel_size", "num_blocks"), AT_LEAST_ONE),
    "threshold": POSITIVE,
    "tail_threshold": NOT_NEGATIVE,
}
UNLIMITED = {"max_len", "maxlen", "max_position"}


def build_model(config: Mapping[str, Any], vocab_size: int) -> nn.Module:
    """The model that ``config`` (0.x key names) describes, with random weights, in training mode.

    The model has ``encode(feats, feat_lens)`` and carries ``model_conf``.

    Raises:
        UsageError: an unknown or unsupported family, component or setting; names the key.
    """
    name = str(config.get("model") or "asr")
    family = find_family(name)
    if family.build is None:
        raise UsageError(f"models of family '{name}' cannot be built from config.yaml", where="config.yaml: model")
    build = load_part(family.build, "models")
    try:
        model = build(config, input_size(config), vocab_size)
    except UsageError:
        raise
    except (ValueError, TypeError, ArithmeticError, AssertionError, LookupError, AttributeError, RuntimeError) as error:
        # Errors of a network about settings that do not go together concern the configuration.
        said = str(error).split("\n")[0] or type(error).__name__
        raise UsageError(f"cannot build a model from this configuration: {said}", where="config.yaml") from None
    model.model_conf = dict(config.get("model_conf") or {})
    return model


def input_size(config: Mapping[str, Any]) -> int:
    """Columns of the features: ``input_size``, else what the front-end produces."""
    frontend_conf = config.get("frontend_conf") or {}
    return int(config.get("input_size") or int(frontend_conf.get("n_mels", 80)) * int(frontend_conf.get("lfr_m", 1)))


def build_component(config: Mapping[str, Any], key: str, classes: Mapping[str, type], **fixed: Any) -> Any:
    """The component that ``config[key]`` names, built from ``config[key + "_conf"]`` and ``fixed``.

    Raises:
        UsageError: a name that is not in ``classes``, or a setting that the class does not have.
    """
    name = config.get(key)
    if name not in classes:
        raise unknown_name(f"unknown {key}", str(name), classes, where=f"config.yaml: {key}")
    return construct(classes[name], config.get(f"{key}_conf") or {}, f"{key}_conf", **fixed)


def construct(cls: type, conf: Mapping[str, Any], section: str, **fixed: Any) -> Any:
    """``cls(**conf, **fixed)``, if every key of ``conf`` is an argument or one of its ``INERT`` settings.

    These are keys that it accepts but that must have this value; ``...``: any value, without effect.
    """
    parameters = parameters_of(cls)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    inert: Mapping[str, Any] = getattr(cls, "INERT", {})
    accepted = dict(fixed)
    for key, value in conf.items():
        if key in inert:
            if inert[key] is not ... and value != inert[key]:
                raise UsageError(
                    f"{key}: {value!r} is not supported, only {inert[key]!r}", where=f"config.yaml: {section}"
                )
        elif key in parameters or takes_any:
            check_setting(key, value, parameters.get(key), section)
            accepted[key] = as_declared(value, parameters.get(key))
        else:
            raise unknown_name("unknown setting", key, parameters, where=f"config.yaml: {section}")
    return cls(**accepted)


def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """The arguments of a constructor, with those of its bases where it passes ``**kwargs`` on to them."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters  # type: ignore[misc]
            found = {**parameters, **found}
            if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
                break
    found.pop("self", None)
    return found


def as_declared(value: Any, parameter: inspect.Parameter | None) -> Any:
    """A whole number that is written as a float (``3.0``) as the integer that the parameter is."""
    kinds = str(parameter.annotation) if parameter else ""
    is_whole = isinstance(value, float) and value.is_integer() and "int" in kinds and "float" not in kinds
    return int(value) if is_whole else value


def check_setting(key: str, value: Any, parameter: inspect.Parameter | None, section: str) -> None:
    """Refuse a value of another type than the component's parameter is declared with, and sizes beyond any model.

    Raises:
        UsageError: names the key and what is wanted.
    """
    where = f"config.yaml: {section}"
    kinds = set(str(parameter.annotation).replace(" ", "").split("|")) if parameter else set()
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kinds and kinds <= SIMPLE_TYPES and "str" not in kinds:
        fits = (
            (value is None and "None" in kinds)
            or (isinstance(value, bool) and "bool" in kinds)
            or (is_number and ("float" in kinds or ("int" in kinds and value == value // 1)))
        )
        if not fits or (is_number and not math.isfinite(value)):
            wanted = " or ".join(sorted(kinds - {"None"}))
            raise UsageError(f"{key} is {value!r:.60}, not of type {wanted}", where=where)
    elif kinds <= SIMPLE_TYPES and kinds and not isinstance(value, (str, type(None), bool, int, float)):
        raise UsageError(f"{key} is {value!r:.60}, not a string", where=where)
    allowed = SHARE if "drop" in key else RANGES.get(key)
    if is_number and allowed:
        allowed.check(key, value, where)
    limit = MAX_LAYERS if key.endswith(("blocks", "layers", "num_blocks", "num_layers")) else MAX_SIZE
    if is_number and abs(value) > limit and key not in UNLIMITED:
        raise UsageError(f"{key} is {value!r}, above the limit of {limit}", where=where)
