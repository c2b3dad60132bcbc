"""A process that reads audio for a worker (``funrecipe.jobs.readers``), since threads share one interpreter.

It is started with the descriptor of the memory that it shares with the worker, and answers

    {"read": entry}      {"samples": n, "channels": c}; the waveform is kept
    {"put": id, "start": sample, "room": samples}
                         {}; the waveform is in the memory, padded with zeros, and forgotten
    {"drop": id}         {}; forgotten

A request that fails is answered by {"error": reason} or, if that ends the job, by {"fatal": what, "where": ..., "hint":
...}.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from funrecipe.coprocess import serve
from funrecipe.errors import FunrecipeError, WorkerError
from funrecipe.jobs.reading import ReadSettings, read_entry
from funrecipe.jobs.results import NO_MEMORY
from funrecipe.jobs.shards import ShardEntry
from funrecipe.processes import is_out_of_memory


def reason_of(error: BaseException) -> str:
    """One line for ``failed.scp``."""
    if isinstance(error, FunrecipeError):
        return error.what
    if is_out_of_memory(error):
        return f"{NO_MEMORY}: too much audio in one piece; cut it (segments), or give the job more memory"
    return f"{type(error).__name__}: {error}"


def reading_into(memory: np.ndarray, settings: ReadSettings) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Answers requests."""
    waiting: dict[str, np.ndarray] = {}

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return _answer(request, settings, memory, waiting)
        except WorkerError as error:
            return {"fatal": error.what, "where": error.where, "hint": error.hint}
        except Exception as error:  # whatever an audio decoder raises concerns this file only
            return {"error": reason_of(error)}

    return answer


def _answer(
    request: dict[str, Any], settings: ReadSettings, memory: np.ndarray, waiting: dict[str, np.ndarray]
) -> dict[str, Any]:
    if "read" in request:
        entry: ShardEntry = request["read"]
        channels: dict[str, int] = {}
        waiting[entry.id] = read_entry(entry, settings, channels)
        return {"samples": len(waiting[entry.id]), "channels": channels.get(entry.id, 1)}
    if "put" in request:
        waveform, start = waiting.pop(request["put"]), request["start"]
        memory[start : start + len(waveform)] = waveform
        memory[start + len(waveform) : start + request["room"]] = 0.0
    else:
        waiting.pop(request["drop"], None)
    return {}


if __name__ == "__main__":
    shared = np.frombuffer(mmap.mmap(int(sys.argv[1]), 0), dtype=np.float32)
    serve(lambda settings: reading_into(shared, settings))
