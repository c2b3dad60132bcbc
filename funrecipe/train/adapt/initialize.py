"""Weights before training: parts of other checkpoints, a longer vocabulary, frozen prefixes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from funrecipe.checkpoint import load_state_dict
from funrecipe.errors import DataError, UsageError, count, did_you_mean, list_problems
from funrecipe.text.tokenizer import UNKNOWN

log = logging.getLogger(__name__)


def load_init_param(model: nn.Module, spec: str, *, ignore_mismatch: bool) -> list[str]:
    """Load ``PATH[:SOURCE_PREFIX[:TARGET_PREFIX[:EXCLUDED_PREFIXES]]]``, ESPnet's syntax.

    Tensors under the source prefix of the file go under the target prefix of the model, except those under the
    excluded prefixes, which are separated by commas. How many were loaded and skipped is logged.

    Returns:
        The names of the model's tensors that were set.

    Raises:
        UsageError: a malformed specification, or nothing fits. DataError: shapes differ and ``ignore_mismatch`` is off.
    """
    path, source, target, excluded = (spec.split(":") + ["", "", ""])[:4]
    if spec.count(":") > 3 or not path:
        raise UsageError(
            f"init_param: '{spec}' is not complete",
            hint="use PATH[:SOURCE_PREFIX[:TARGET_PREFIX[:EXCLUDED_PREFIXES]]]",
        )
    if not Path(path).is_file():
        raise DataError("init_param: no such file", where=path)
    skipped = tuple(prefix for prefix in excluded.split(",") if prefix)
    own = model.state_dict()
    chosen: dict[str, Tensor] = {}
    unknown, reshaped = [], []
    for name, value in load_state_dict(path).items():
        if source and not (name == source or name.startswith(f"{source.rstrip('.')}.")):
            continue
        if skipped and name.startswith(skipped):
            continue
        rest = name[len(source) :].lstrip(".") if source else name
        renamed = ".".join(part for part in (target.rstrip("."), rest) if part)
        if renamed not in own:
            unknown.append(renamed)
        elif own[renamed].shape != value.shape:
            reshaped.append(f"{renamed}: {tuple(value.shape)} in the file, {tuple(own[renamed].shape)} in the model")
        else:
            chosen[renamed] = value
    if reshaped and not ignore_mismatch:
        raise DataError(
            f"init_param: {count(len(reshaped), 'tensor')} of another shape\n{list_problems(reshaped)}",
            where=path,
            hint="skip them with --ignore_init_mismatch true",
        )
    if not chosen:
        raise UsageError(f"init_param: no tensor of the file fits under '{target or 'the model'}'", where=path)
    model.load_state_dict({**own, **chosen})
    log.info(
        "init_param %s: %d tensors loaded, %d not in the model, %d of another shape, %d of the model not set",
        spec,
        len(chosen),
        len(unknown),
        len(reshaped),
        len(own) - len(chosen),
    )
    return sorted(chosen)


def load_encoder(model: nn.Module, weights: Path) -> None:
    """Give a model the encoder of a pre-trained folder; the log says which tensors came from it and which are new.

    Raises:
        DataError: the encoder is not the one of the model's configuration; names tensors.
    """
    state, own = load_state_dict(weights), model.state_dict()
    wanted = [name for name in own if name.startswith("encoder.")]
    problems = [f"{name} is missing" for name in wanted if name not in state]
    problems += [
        f"{name}: {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        for name in wanted
        if name in state and state[name].shape != own[name].shape
    ]
    if problems or not wanted:
        raise DataError(
            f"the pre-trained encoder does not fit the model\n{list_problems(problems)}",
            where=str(weights),
            hint="leave 'encoder' out of the target configuration, to use that of the pre-trained folder",
        )
    model.load_state_dict({**own, **{name: state[name] for name in wanted}})
    new = Counter(name.split(".")[0] for name in own if name not in wanted)
    unused = sorted({name.split(".")[0] for name in state if name not in own})
    log.info("%s: %d tensors of the encoder came from it", weights, len(wanted))
    log.info("new, with random weights: %s", ", ".join(f"{part} ({count} tensors)" for part, count in new.items()))
    if unused:
        log.info("%s: not used: %s", weights, ", ".join(unused))


def extend_tokens(tokens: Sequence[str], new: Iterable[str]) -> list[str]:
    """``tokens`` with the new ones before a final ``<unk>``, which FunASR expects to be last."""
    added = [token for token in sorted(set(new)) if token not in set(tokens)]
    if tokens[-1] == UNKNOWN:
        return [*tokens[:-1], *added, UNKNOWN]
    return [*tokens, *added]


def extend_state(
    state: Mapping[str, Tensor], old_tokens: Sequence[str], new_tokens: Sequence[str], target: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """``state`` of a model over ``old_tokens`` with rows for ``new_tokens``.

    Rows follow their token. A new row of a weight is the mean of the old ones plus a little of what ``target``, a
    freshly initialized model, has there, so that it is neither chosen at once nor stuck; a new bias is the smallest
    old one.
    """
    old_size, new_size = len(old_tokens), len(new_tokens)
    places = {token: i for i, token in enumerate(new_tokens)}
    rows = torch.tensor([places[token] for token in old_tokens])
    extended = {}
    for name, value in state.items():
        if value.dim() and name in target and value.shape[0] == old_size and target[name].shape[0] == new_size:
            fresh = target[name]
            if value.dim() > 1:
                grown = value.mean(dim=0) + 0.1 * (fresh - fresh.mean(dim=0))
            else:
                grown = value.min().repeat(new_size)
            extended[name] = grown.to(value.dtype).index_copy(0, rows, value)
        else:
            extended[name] = value
    return extended


def freeze(model: nn.Module, prefixes: Sequence[str]) -> int:
    """Switch off the gradients of parameters under ``prefixes`` (whole name parts); returns how many.

    Raises:
        UsageError: a prefix that no parameter has.
    """
    frozen = 0
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        chosen = [name for name in names if name == prefix or name.startswith(f"{prefix.rstrip('.')}.")]
        if not chosen:
            tops = {".".join(name.split(".")[:n]) for name in names for n in (1, 2, 3)}
            raise UsageError(f"freeze_param: no parameter under '{prefix}'", hint=did_you_mean(prefix, tops))
        for name in chosen:
            model.get_parameter(name).requires_grad_(False)
        frozen += len(chosen)
    if frozen:
        log.info("freeze_param: %d of %d parameters are not trained", frozen, len(names))
    return frozen
