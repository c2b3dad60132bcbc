"""Samples in memory: numpy arrays and torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from funrecipe.audio.channels import channels_last, take_channel
from funrecipe.audio.decode import Sound, Wanted
from funrecipe.audio.parts import check_rate
from funrecipe.errors import UsageError

FULL_SCALE = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31, np.dtype(np.int8): 2.0**7}
LARGEST_INT16 = 2**15


def samples_of(source: Any, wanted: Wanted, rate_hz: int) -> Sound:
    """One channel of an array or tensor (S,), (S, C) or (C, S).

    Integers count by the full scale of their type. Samples of 16 bits in an array of 32 would be 96 dB too quiet: they
    are refused, since a recording of 32 or 24 bits whose loudest sample is below the last 16 is silence.

    Raises:
        DataError: a rate out of range, or a segment or channel that does not exist.
        UsageError: not an array, or its type or shape leaves open what the samples are.
    """
    if hasattr(source, "detach"):
        source = _array_of(source)
    if not isinstance(source, np.ndarray):
        raise UsageError(
            f"the audio is of type {type(source).__name__}", hint="give a path, bytes, a numpy array or a tensor"
        )
    samples = channels_last(source)
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype == np.int32:
        loudest = max(abs(int(samples.max(initial=0))), abs(int(samples.min(initial=0))))
        if 0 < loudest <= LARGEST_INT16:
            raise UsageError(
                f"the int32 samples are at most {loudest}: these are 16-bit values",
                hint="pass samples.astype(numpy.int16); the full scale of int32 is 2**31",
            )
    elif samples.dtype.kind != "f" and samples.dtype not in FULL_SCALE and samples.dtype != np.uint8:
        raise UsageError(
            f"the samples are of type {samples.dtype}", hint="give int16, int32 (full scale) or float in [-1, 1)"
        )
    check_rate(rate_hz)
    wanted.check(len(samples), rate_hz)
    first, stop = wanted.samples(rate_hz)
    taken = take_channel(_scaled(samples[first:stop]), wanted.channel)
    return Sound(np.ascontiguousarray(taken), rate_hz, samples.shape[1])


def _array_of(tensor: Any) -> np.ndarray:
    """The values of a torch tensor, without importing torch; numpy has no bfloat16."""
    try:
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy(force=True)
    except (TypeError, RuntimeError) as error:  # a sparse or quantized tensor, or one without data
        what = f"the audio is a tensor that numpy cannot read: {str(error).splitlines()[0]}"
        raise UsageError(what, hint="give a dense tensor") from None


def _scaled(samples: np.ndarray) -> np.ndarray:
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    return (samples / FULL_SCALE[samples.dtype]).astype(np.float32)
