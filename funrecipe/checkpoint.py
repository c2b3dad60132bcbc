"""Weights on disk: loaded without running anything in them, refused unless they fit, written atomically."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import pickle
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from funrecipe.errors import DataError, UnsafeFileError, count, list_problems
from funrecipe.files import atomic_write, write_error
from funrecipe.models.registry import build_model
from funrecipe.models.uninitialized import Uninitialized

UNSAFE = re.compile("Unsupported|allowlist|not allowed|disallowed|blocklisted|unsafe|GLOBAL", re.IGNORECASE)
WRAPPERS = ("state_dict", "model", "model_state_dict")  # FunASR 1.x, checkpoint.pb of 0.x, common usage


def load_plain(path: Path | str, *, mapped: bool = False) -> Any:
    """``torch.load`` of tensors, numbers, strings and containers only, on the CPU.

    The archive is compared with its own checksums first: otherwise a flipped bit would change numbers without an error.

    Args:
        mapped: leave the tensors in the file and read them where they are used (processes then share the memory).

    Raises:
        UnsafeFileError: the pickle wants to build anything else.
        DataError: no such file, damaged, or not a checkpoint.
    """
    check_archive(path)
    try:
        # files older than torch 1.6 are not archives and cannot be mapped
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        wanted = next((line.strip() for line in str(error).splitlines() if UNSAFE.search(line)), None)
        if wanted and _starts_like_a_checkpoint(path):
            raise UnsafeFileError(
                f"refused to load a pickle that holds more than tensors: {wanted}",
                where=str(path),
                hint="ask its author for torch.save(model.state_dict(), ...), or convert it where you trust it",
            ) from None
        raise _not_a_checkpoint(path, "neither an archive of torch.save nor a plain pickle") from None
    except FileNotFoundError:
        raise DataError("no such weights file", where=str(path), hint="name a file of weights that exists") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise _not_a_checkpoint(path, str(error).split("\n")[0].split(". ")[0] or "it ends too early") from None


def check_archive(path: Path | str) -> None:
    """Compare every file in an archive of ``torch.save`` with its CRC-32; other files have no checksums.

    Raises:
        DataError: some content is not what was written, or the archive is larger inside than outside.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            inside = sum(item.file_size for item in archive.infolist())
            if inside > Path(path).stat().st_size:  # torch.save does not compress, a zip bomb does
                raise _not_a_checkpoint(path, f"an archive that unpacks to {inside} bytes")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, NotImplementedError) as error:
        raise _not_a_checkpoint(path, str(error).split("\n")[0]) from None
    if damaged is not None:
        raise _not_a_checkpoint(path, f"checksum mismatch for '{damaged}'")


def load_state_dict(path: Path | str, *, mapped: bool = False) -> dict[str, Tensor]:
    """The tensors of a bare state dict, or of one under ``state_dict`` or ``model``; ``mapped`` as in `load_plain`.

    Raises:
        UnsafeFileError, DataError: as :func:`load_plain`, or no state dict in it.
    """
    if Path(path).suffix == ".safetensors":
        return read_safetensors(Path(path))
    content = load_plain(path, mapped=mapped)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise DataError("holds no state dict (a mapping of names to tensors)", where=str(path))
    return dict(content)


SAFETENSORS_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file: eight bytes, a JSON header of that length, the numbers.

    Raises:
        DataError: not such a file, or a tensor that does not fit in it.
    """
    try:
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        numbers, tensors = bytearray(content[8 + length :]), {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            kind, shape = SAFETENSORS_TYPES[entry["dtype"]], tuple(entry["shape"])
            if not 0 <= begin <= end <= len(numbers) or end - begin != kind.itemsize * math.prod(shape):
                raise ValueError(f"tensor '{name}' does not fit in the file")
            flat = torch.frombuffer(numbers, dtype=torch.uint8)[begin:end].clone().view(kind)
            tensors[name] = flat.reshape(shape)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(f"cannot read the safetensors file: {error}", where=str(path)) from None
    if not tensors:
        raise DataError("holds no tensors", where=str(path))
    return tensors


def save_safetensors(state: Mapping[str, Tensor], path: Path | str) -> None:
    """``state`` as a safetensors file, the numbers eight-byte aligned; atomic as :func:`save_checkpoint`."""
    names = {kind: name for name, kind in SAFETENSORS_TYPES.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in state.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path, "wb", is_durable=True) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in state.values():
            file.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def load_network(config: Mapping[str, Any], vocab_size: int, weights: Path, device: torch.device | str) -> nn.Module:
    """The network of a ``config.yaml`` with its weights, for inference only. Raises as its builder and load_weights."""
    with Uninitialized():
        network = build_model(config, vocab_size)
    load_weights(network, weights, assign=True)
    return network.eval().requires_grad_(False).to(device)


def load_weights(model: nn.Module, path: Path | str, *, assign: bool = False) -> None:
    """Put the tensors of ``path`` into ``model``; half precision on disk is converted to the model's type.

    Names may lack the model's ``key_prefix``, if it has one.

    Args:
        assign: make them the model's own, mapped from the file, without a copy: for a model that was built without
            initial values (``models.uninitialized``) and will not be trained.

    Raises:
        DataError: names that are missing, unexpected or of another shape, all listed.
        UnsafeFileError: as :func:`load_plain`.
    """
    assign = assign or any(parameter.is_meta for parameter in model.parameters())
    state = add_prefix(load_state_dict(path, mapped=assign), getattr(model, "key_prefix", ""))
    fit_state_dict(model, state, where=str(path), assign=assign)


def add_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """``state`` with ``prefix`` before every name, unless names have it: some versions of FunASR leave it out."""
    if any(name.startswith(prefix) for name in state):
        return dict(state)
    return {prefix + name: tensor for name, tensor in state.items()}


def fit_state_dict(model: nn.Module, state: Mapping[str, Tensor], *, where: str, assign: bool = False) -> None:
    """Put ``state`` into ``model``, or raise a DataError that lists every tensor that does not fit.

    Args:
        where: what the error names as the place.
        assign: make the tensors of ``state`` the model's own instead of copying their values.
    """
    wanted = model.state_dict()
    problems = [f"missing: {name} {tuple(wanted[name].shape)}" for name in wanted if name not in state]
    problems += [f"unexpected: {name} {tuple(state[name].shape)}" for name in state if name not in wanted]
    problems += [
        f"another shape: {name} {tuple(state[name].shape)}, the configuration wants {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    if problems:
        raise DataError(
            f"the weights do not fit the configuration ({count(len(problems), 'tensor')}):\n{list_problems(problems)}",
            where=where,
            hint="use config.yaml and weights of the same model",
        )
    if problems := [f"not a number: {name}" for name, tensor in state.items() if not _is_finite(tensor)]:
        raise DataError(
            f"the weights hold NaN or infinity ({count(len(problems), 'tensor')}):\n{list_problems(problems)}",
            where=where,
            hint="use other weights; the training that wrote these diverged, or the file is damaged",
        )
    if assign:
        state = {name: tensor.to(wanted[name].dtype) for name, tensor in state.items()}
    model.load_state_dict(state, assign=assign)


def _is_finite(tensor: Tensor) -> bool:
    """No NaN, no infinity: both survive a sum, which is faster than a look at each value."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor.sum(dtype=torch.float64)))


def save_checkpoint(content: Any, path: Path | str, *, replaces_link: bool = False) -> None:
    """``torch.save`` under a temporary name, flushed to disk, then renamed: a reader sees all of it or the old file.

    Raises:
        WriteError: it cannot be written, for example on a full disk; the old file is still there.
    """
    try:
        with atomic_write(path, "wb", is_durable=True, replaces_link=replaces_link) as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch's archive writer raises it when the disk is full
        reason = error.__context__
        if not isinstance(reason, OSError):
            reason = OSError(errno.ENOSPC, str(error).split("\n")[0])
        raise write_error(reason, path) from error


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and values, in name order: equal weights have equal fingerprints."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _starts_like_a_checkpoint(path: Path | str) -> bool:
    """A zip archive or a pickle; the pickle reader also says "unsupported" about any other bytes."""
    with open(path, "rb") as file:
        return file.read(2)[:1] in (b"P", b"\x80")


def _not_a_checkpoint(path: Path | str, reason: str) -> DataError:
    return DataError(
        f"not a readable checkpoint: {reason}", where=str(path), hint="get the file again: it is damaged or cut off"
    )
