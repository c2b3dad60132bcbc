"""From a configuration to a model: one function builds it, one checks what a component is given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from funrecipe.errors import UsageError, did_you_mean
from funrecipe.families import find_family, load_part

# ``INERT`` of a component class: keys that it takes but that must have this value; ``...``: any value, no effect.
Inert = Mapping[str, Any]


def build_model(config: Mapping[str, Any], vocab_size: int) -> nn.Module:
    """The model that ``config`` (0.x key names) describes, with random weights, in training mode.

    The model has ``encode(feats, feat_lens)`` and carries ``model_conf``.

    Raises:
        UsageError: a family, component or setting that is not known or not supported; names the key.
    """
    name = str(config.get("model") or "asr")
    family = find_family(name)
    if family.build is None:
        raise UsageError(f"models of family '{name}' cannot be built from config.yaml", where="config.yaml: model")
    build = load_part(family.build, "models")
    try:
        model = build(config, input_size(config), vocab_size)
    except ValueError as error:
        raise UsageError(str(error), where="config.yaml") from None
    model.model_conf = dict(config.get("model_conf") or {})
    return model


def input_size(config: Mapping[str, Any]) -> int:
    """Columns of the features: ``input_size``, else what the front-end makes."""
    frontend_conf = config.get("frontend_conf") or {}
    return int(config.get("input_size") or int(frontend_conf.get("n_mels", 80)) * int(frontend_conf.get("lfr_m", 1)))


def build_component(config: Mapping[str, Any], key: str, classes: Mapping[str, type], **fixed: Any) -> Any:
    """The component that ``config[key]`` names, built from ``config[key + "_conf"]`` and ``fixed``.

    Raises:
        UsageError: a name that is not in ``classes``, or a setting that the class does not take.
    """
    name = config.get(key)
    if name not in classes:
        raise UsageError(
            f"unknown {key} '{name}'",
            where=f"config.yaml: {key}",
            hint=did_you_mean(str(name), classes) or f"known here: {', '.join(classes)}",
        )
    return construct(classes[name], config.get(f"{key}_conf") or {}, f"{key}_conf", **fixed)


def construct(cls: type, conf: Mapping[str, Any], section: str, **fixed: Any) -> Any:
    """``cls(**conf, **fixed)`` after every key of ``conf`` was found among its arguments or its ``INERT`` settings."""
    parameters = inspect.signature(cls).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    inert: Inert = getattr(cls, "INERT", {})
    accepted = dict(fixed)
    for key, value in conf.items():
        if key in inert:
            if inert[key] is not ... and value != inert[key]:
                raise UsageError(
                    f"{key}: {value!r} is not supported, only {inert[key]!r}", where=f"config.yaml: {section}"
                )
        elif key in parameters or takes_any:
            accepted[key] = value
        else:
            raise UsageError(
                f"unknown setting '{key}'", where=f"config.yaml: {section}", hint=did_you_mean(key, parameters)
            )
    return cls(**accepted)
