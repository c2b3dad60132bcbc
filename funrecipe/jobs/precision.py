"""``--precision auto``: decided once per run, by what bf16 changes in the run's own first utterances.

The decision is a file beside the plan. The first worker makes it; every other one, and a resumed run, reads it.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from funrecipe.errors import DataError
from funrecipe.files import temporary_name, write_json, writing
from funrecipe.jobs.plan import Plan
from funrecipe.jobs.reading import ReadSettings, read_entry
from funrecipe.score.align import TokenEncoder, total_errors

if TYPE_CHECKING:
    import numpy as np

    from funrecipe.decode.options import DecodeOptions
    from funrecipe.jobs.decode_shard import Recognizer
    from funrecipe.model_folder import ModelFolder

AUTO = "auto"
UTTERANCES = 32
LONGEST_S = 30.0
MOST_CHANGED = 0.01  # of the tokens; bf16 on a GPU changes a few in a thousand, about as often for the better


@dataclass(frozen=True)
class Decision:
    """The precision of a run, and why: of ``tokens`` in fp32, bf16 changed ``changed``."""

    precision: str
    reason: str
    tokens: int = 0
    changed: int = 0

    def __str__(self) -> str:
        return f"precision auto: {self.precision}, {self.reason}"


def settle_precision(plan: Plan, folder: ModelFolder, options: DecodeOptions, device: str) -> DecodeOptions:
    """``options`` with the decision of the run in place of ``auto``; what a worker loads its model with."""
    from funrecipe.decode.recognizer import load_recognizer, with_defaults
    from funrecipe.decode.tiled_model import why_not_bf16

    if with_defaults(options, folder).precision != AUTO:
        return options

    def load(precision: str) -> Recognizer:
        chosen = replace(options, precision=precision)
        return load_recognizer(folder, device=device, options=chosen, weights=Path(plan.model.weights))

    decision = decide(plan, why_not_bf16(folder, device), load)
    print(decision)
    return replace(options, precision=decision.precision)


def decide(plan: Plan, refusal: str | None, load: Callable[[str], Recognizer]) -> Decision:
    """The decision of a run, made now unless it has been made.

    Args:
        refusal: why bf16 is out of the question on this device, or None.
        load: gives the recognizer in a precision.

    Raises:
        WriteError: it cannot be kept.
    """
    if (found := decision_of(plan)) is not None:
        return found
    decision = Decision("fp32", refusal) if refusal else _compare(plan, load)
    path = _path(plan)
    mine = temporary_name(path)
    try:
        write_json(mine, asdict(decision))
        with writing(path), suppress(FileExistsError):  # another worker was first: its decision holds for the run
            os.link(mine, path)
    finally:
        mine.unlink(missing_ok=True)
    return decision_of(plan) or decision


def decision_of(plan: Plan) -> Decision | None:
    """What was decided for the utterances, model and options of ``plan``, if anything was.

    Raises:
        DataError: the file is damaged.
    """
    path = _path(plan)
    try:
        return Decision(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        hint = "remove it: the next run decides again"
        raise DataError(f"cannot read the decision on the precision: {error}", where=str(path), hint=hint) from None


def _path(plan: Plan) -> Path:
    return plan.output_dir / f"precision.{plan.work_digest[:12]}.json"


def _compare(plan: Plan, load: Callable[[str], Recognizer]) -> Decision:
    exact = load("fp32")
    waveforms = _first_waveforms(plan, exact.sample_rate_hz)
    wanted = [list(hypothesis.tokens) for hypothesis in exact.transcribe(waveforms)]
    del exact
    gc.collect()  # its memory is needed for the other, and a model in tiles refers to itself
    tokens = sum(map(len, wanted))
    if not tokens:
        return Decision("fp32", f"since the first {len(waveforms)} utterances have no tokens to compare")
    found = [list(hypothesis.tokens) for hypothesis in load("bf16").transcribe(waveforms)]
    changed = changed_tokens(wanted, found)
    share = f"{changed} of {tokens} tokens ({100 * changed / tokens:.2f} %) of the first {len(waveforms)} utterances"
    if changed <= MOST_CHANGED * tokens:
        return Decision("bf16", f"which changes {share}", tokens, changed)
    reason = f"since bf16 changes {share}, more than {100 * MOST_CHANGED:g} %"
    return Decision("fp32", reason, tokens, changed)


def _first_waveforms(plan: Plan, sample_rate_hz: int) -> list[np.ndarray]:
    """Those of the first jobs that can be read and are not longer than what is recognized in one piece."""
    settings = ReadSettings(sample_rate_hz, plan.audio)
    waveforms: list[np.ndarray] = []
    for entry in chain.from_iterable(plan.entries(job.number) for job in plan.jobs):
        if len(waveforms) == UTTERANCES:
            break
        if entry.cost_s > LONGEST_S:
            continue
        try:
            waveforms.append(read_entry(entry, settings, {}))
        except DataError:
            continue  # the job that decodes it reports the error
    return waveforms


def changed_tokens(wanted: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> int:
    """Edits between two lists of token sequences."""
    encoder = TokenEncoder()
    pairs = [encoder.encode_pair(one, other) for one, other in zip(wanted, found, strict=True)]
    return int(total_errors([one for one, _ in pairs], [other for _, other in pairs]).sum())
