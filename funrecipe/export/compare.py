"""Does an exported model give the same output as the original? On real audio, token by token and number by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from funrecipe.decode.onnx import OnnxModel
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import Recognizer, load_recognizer
from funrecipe.export.onnx_graph import further_inputs
from funrecipe.model_folder import ModelFolder, open_model_folder

BATCH = 8
LOG_PROB_TOLERANCE = 2e-3
GREEDY = {"asr": {"decoding_mode": "ctc_greedy"}}
NEUTRAL = {"beam_size": 1, "nbest": 1, "ctc_weight": 0.0, "lm_weight": 0.0, "ngram_weight": 0.0, "penalty": 0.0,
           "maxlenratio": 0.0, "minlenratio": 0.0}  # fmt: skip


@dataclass(frozen=True)
class Equality:
    """What a comparison found.

    Attributes:
        utterances: compared; equal_tokens: with the same tokens and times.
        different: ids of the others.
        largest_difference: of two log-probabilities, both networks given the same batch; None where it is not asked
            for (int8).
    """

    utterances: int
    equal_tokens: int
    different: tuple[str, ...]
    largest_difference: float | None

    @property
    def holds(self) -> bool:
        return not self.different and (self.largest_difference or 0.0) <= LOG_PROB_TOLERANCE

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "tolerance": LOG_PROB_TOLERANCE, "holds": self.holds}

    def __str__(self) -> str:
        named = f" (not {', '.join(self.different[:5])}{' ...' if len(self.different) > 5 else ''})"
        said = f"{self.equal_tokens} of {self.utterances} utterances have equal tokens{named * bool(self.different)}"
        if self.largest_difference is None:
            return said
        return f"{said}, largest difference of log-probabilities {self.largest_difference:.2g}"


def greedy_options(folder: ModelFolder) -> DecodeOptions:
    """Greedy decoding, whatever the folder's ``decoding.yaml`` asks for."""
    return DecodeOptions(**NEUTRAL, **GREEDY.get(folder.family, {}))


def compare_exported(
    folder: ModelFolder, network: nn.Module, exported: Path, waves: dict[str, np.ndarray], precision: str = "fp32"
) -> Equality:
    """Decode ``waves`` (id -> (S,) float) with the folder and with what was exported of it.

    The network's numbers are compared on padded batches, its tokens and times on utterances decoded one at a time by
    the folder and in batches by the export.
    """
    ours = load_recognizer(folder, options=greedy_options(folder))
    theirs = load_recognizer(open_model_folder(exported), options=DecodeOptions(precision=precision))
    ids, audio = list(waves), list(waves.values())
    wanted = [ours.transcribe([wave])[0] for wave in audio]
    found = [h for start in range(0, len(audio), BATCH) for h in theirs.transcribe(audio[start : start + BATCH])]
    different = tuple(
        key for key, a, b in zip(ids, wanted, found) if (a.tokens, a.timestamp_ms) != (b.tokens, b.timestamp_ms)
    )
    if precision != "fp32":
        return Equality(len(ids), len(ids) - len(different), different, None)
    model = theirs.search.model  # type: ignore[attr-defined]  # an OnnxSearch
    batches = (audio[start : start + BATCH] for start in range(0, len(audio), BATCH))
    largest = max((largest_difference(network, model, ours, batch) for batch in batches), default=0.0)
    return Equality(len(ids), len(ids) - len(different), different, largest)


@torch.inference_mode()
def largest_difference(
    network: nn.Module, exported: OnnxModel, recognizer: Recognizer, waves: Sequence[np.ndarray]
) -> float:
    """Largest difference of two log-probabilities of one padded batch; infinite where the shapes differ."""
    samples = [torch.from_numpy(np.array(wave, dtype=np.float32)) for wave in waves]
    lens = torch.tensor([len(wave) for wave in samples])
    feats, feat_lens = recognizer.frontend(pad_sequence(samples, batch_first=True), lens)
    rows = feat_lens.nonzero().flatten()
    if len(rows) == 0:
        return 0.0
    inputs = [feats[rows], feat_lens[rows], *further_inputs(network, feat_lens[rows])]
    ours, theirs = network(*inputs)[0], exported(*inputs)[0]
    return float((ours - theirs).abs().max()) if ours.shape == theirs.shape else float("inf")
