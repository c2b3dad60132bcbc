"""``funrecipe decode`` with a recognizer that needs no weights: what it says depends on the samples alone.

``python -m tools.fuzz.stand_in --plan=... --job N``; ``FUZZ_SLEEP_S`` makes each utterance take that long.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from funrecipe.cli import main
from funrecipe.jobs import worker
from funrecipe.jobs.model_record import checked_model
from funrecipe.jobs.plan import Plan

WORDS = "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳"


@dataclass
class Said:
    tokens: list[str]
    text: str
    score: float
    timestamp_ms: list[list[int]]
    nbest: None = None
    rich: None = None
    is_estimated: bool = False


class StandIn:
    """Says a few characters that the samples determine."""

    sample_rate_hz = 16000

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[Said]:
        time.sleep(float(os.environ.get("FUZZ_SLEEP_S", "0")) * len(waveforms))
        return [self._say(waveform) for waveform in waveforms]

    def _say(self, waveform: np.ndarray) -> Said:
        digest = hashlib.sha256(waveform.tobytes()).digest()
        tokens = [WORDS[byte % len(WORDS)] for byte in digest[: 3 + digest[-1] % 6]]
        times = [[60 * n, 60 * n + 60] for n in range(len(tokens))]
        return Said(tokens, " ".join(tokens), -float(digest[0]) / 7, times)


def load(plan: Plan) -> tuple[StandIn, str]:
    """As the real worker, but for the network: the model must be the one of the plan."""
    with checked_model(plan.model):
        return StandIn(), "cpu"


if __name__ == "__main__":
    worker.load_planned = load  # type: ignore[assignment]
    sys.exit(main(["decode", *sys.argv[1:]]))
