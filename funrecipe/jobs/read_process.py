"""A process that reads audio for a worker (``funrecipe.jobs.readers``), since threads share one interpreter.

It is started with the descriptor of the memory that it shares with the worker. Requests and answers are lines of JSON:

    settings             the first line, fields of ``ReadSettings``; no answer
    {"read": entry}      -> {"samples": n, "channels": c}; the waveform is kept
    {"put": id, "start": sample, "room": samples}
                         -> {}; the waveform is in the memory, padded with zeros, and forgotten
    {"drop": id}         -> {}

A request that fails is answered by {"error": reason} or {"fatal": what, "where": ..., "hint": ...}, which ends the job.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
from typing import Any, TextIO

import numpy as np

from funrecipe.errors import FunrecipeError, WorkerError
from funrecipe.jobs.reading import ReadSettings, read_entry
from funrecipe.jobs.shards import ShardEntry
from funrecipe.processes import end_with_parent


def reason_of(error: BaseException) -> str:
    """One line for ``failed.scp``."""
    return error.what if isinstance(error, FunrecipeError) else f"{type(error).__name__}: {error}"


def serve(memory: np.ndarray, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    settings = ReadSettings(**json.loads(requests.readline()))
    waiting: dict[str, np.ndarray] = {}
    for line in requests:
        try:
            answer = _answer(json.loads(line), settings, memory, waiting)
        except WorkerError as error:
            answer = {"fatal": error.what, "where": error.where, "hint": error.hint}
        except Exception as error:  # whatever a decoder of audio raises is about this file only
            answer = {"error": reason_of(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(
    request: dict[str, Any], settings: ReadSettings, memory: np.ndarray, waiting: dict[str, np.ndarray]
) -> dict[str, Any]:
    if "read" in request:
        entry, channels = ShardEntry(**request["read"]), dict[str, int]()
        waiting[entry.id] = read_entry(entry, settings, channels)
        return {"samples": len(waiting[entry.id]), "channels": channels.get(entry.id, 1)}
    if "put" in request:
        waveform, start = waiting.pop(request["put"]), request["start"]
        memory[start : start + len(waveform)] = waveform
        memory[start + len(waveform) : start + request["room"]] = 0.0
    else:
        waiting.pop(request["drop"], None)
    return {}


def main() -> None:
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to the log of the job
    shared = mmap.mmap(int(sys.argv[1]), 0)
    serve(np.frombuffer(shared, dtype=np.float32), sys.stdin, answers)


if __name__ == "__main__":
    main()
