"""Does an exported model give the same output as the original? On real audio or text, in tokens and in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from funrecipe.decode.onnx_online import OnnxOnlineSearch, StreamedSearch
from funrecipe.decode.options import OPTIONS, DecodeOptions
from funrecipe.decode.paraformer_online import ParaformerOnlineSteps
from funrecipe.decode.recognizer import Recognizer, load_recognizer
from funrecipe.export.networks import ExportedRecognizer
from funrecipe.families import PUNCTUATION, VAD
from funrecipe.model_folder import ModelFolder, open_model_folder
from funrecipe.models.onnx import OnnxModel
from funrecipe.punctuation.punctuator import Punctuator, load_punctuator
from funrecipe.vad.detector import VoiceActivityDetector, load_detector

BATCH = 8
TOLERANCE = 2e-3


@dataclass(frozen=True)
class Equality:
    """What a comparison found.

    Attributes:
        compared: utterances, recordings or texts; equal: those with the same tokens and times, segments or marks.
        different: ids of the others.
        largest_difference: of two outputs of the networks (log-probabilities, posteriors, logits of marks), both given
            the same batch; None where it is not asked for (int8).
    """

    compared: int
    different: tuple[str, ...]
    largest_difference: float | None

    @property
    def equal(self) -> int:
        return self.compared - len(self.different)

    @property
    def holds(self) -> bool:
        return not self.different and (self.largest_difference or 0.0) <= TOLERANCE

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "equal": self.equal, "tolerance": TOLERANCE, "holds": self.holds}

    def __str__(self) -> str:
        named = f" (not {', '.join(self.different[:5])}{' ...' if len(self.different) > 5 else ''})"
        said = f"{self.equal} of {self.compared} results are equal{named * bool(self.different)}"
        if self.largest_difference is None:
            return said
        return f"{said}, largest difference of the networks' outputs {self.largest_difference:.2g}"


def greedy_options(folder: ModelFolder) -> DecodeOptions:
    """Greedy decoding, whatever the folder's ``decoding.yaml`` asks for."""
    neutral = {name: option.neutral[0] for name, option in OPTIONS.items() if option.neutral}
    mode = "ctc_greedy" if "ctc_greedy" in folder.row.decoding_modes else None
    return DecodeOptions(**neutral | {"decoding_mode": mode})


@torch.inference_mode()
def compare_exported(
    folder: ModelFolder, network: nn.Module, exported: Path, samples: Mapping[str, Any], precision: str = "fp32"
) -> Equality:
    """Give ``samples`` to the folder and to what was exported of it.

    Args:
        network: what was exported, in torch.
        samples: id -> (S,) float, or a text for a punctuation model.
        precision: which of the graphs.
    """
    opened = open_model_folder(exported)
    if precision == "int8":
        opened = replace(opened, weights=opened.quantized)
    compare = {VAD: compare_vad, PUNCTUATION: compare_punctuation}.get(folder.row.task, compare_recognizers)
    different, differences = compare(folder, network, opened, samples)
    return Equality(len(samples), tuple(different), max(differences, default=0.0) if precision == "fp32" else None)


def compare_recognizers(
    folder: ModelFolder, network: nn.Module, opened: ModelFolder, waves: Mapping[str, np.ndarray]
) -> tuple[list[str], Iterator[float]]:
    """Tokens and times, of utterances one at a time by the folder and in batches by the export; log-probabilities of
    padded batches. Returns the ids that differ, and the largest differences."""
    ours = load_recognizer(folder, options=greedy_options(folder))
    theirs = load_recognizer(opened, options=DecodeOptions())
    if isinstance(theirs.search, OnnxOnlineSearch):
        model = ours.search.model  # type: ignore[attr-defined]  # a ParaformerSearch
        ours.search = StreamedSearch(ParaformerOnlineSteps(model, folder, DecodeOptions()))
    audio = list(waves.values())
    batches = [audio[start : start + BATCH] for start in range(0, len(audio), BATCH)]
    wanted = [ours.transcribe([wave])[0] for wave in audio]
    found = [hypothesis for batch in batches for hypothesis in theirs.transcribe(batch)]
    different = [
        key for key, a, b in zip(waves, wanted, found) if (a.tokens, a.timestamp_ms) != (b.tokens, b.timestamp_ms)
    ]
    if isinstance(theirs.search, OnnxOnlineSearch):  # a score is the sum of its tokens' log-probabilities
        return different, (abs(a.score - b.score) / max(1, len(a.tokens)) for a, b in zip(wanted, found))
    model = theirs.search.model  # type: ignore[attr-defined]  # an OnnxSearch
    return different, (largest_difference(network, model, ours, batch) for batch in batches)


def largest_difference(
    network: ExportedRecognizer, exported: OnnxModel, recognizer: Recognizer, waves: Sequence[np.ndarray]
) -> float:
    """Largest difference of two log-probabilities of one padded batch; infinite where the shapes differ."""
    samples = [torch.from_numpy(np.array(wave, dtype=np.float32)) for wave in waves]
    lens = torch.tensor([len(wave) for wave in samples])
    feats, feat_lens = recognizer.frontend(pad_sequence(samples, batch_first=True), lens)
    rows = feat_lens.nonzero().flatten()
    if len(rows) == 0:
        return 0.0
    inputs = [feats[rows], feat_lens[rows], *network.further_inputs(feat_lens[rows])]
    return difference(network(*inputs)[0], exported(*inputs)[0])


def compare_vad(
    folder: ModelFolder, network: nn.Module, opened: ModelFolder, waves: Mapping[str, np.ndarray]
) -> tuple[list[str], Iterator[float]]:
    """Segments, and posteriors of every frame."""
    ours, theirs = load_detector(folder), load_detector(opened)
    different = [key for key, wave in waves.items() if ours.segments(wave) != theirs.segments(wave)]

    def posteriors(detector: VoiceActivityDetector, wave: np.ndarray) -> Tensor:
        samples = torch.from_numpy(np.array(wave, dtype=np.float32))
        feats = detector.frontend.feed(samples, detector.frontend.start(), True)
        return detector.network(feats[None], detector.network.start())[0] if len(feats) else feats

    return different, (difference(posteriors(ours, wave), posteriors(theirs, wave)) for wave in waves.values())


def compare_punctuation(
    folder: ModelFolder, network: nn.Module, opened: ModelFolder, texts: Mapping[str, str]
) -> tuple[list[str], Iterator[float]]:
    """Marks of whole texts, and of the same in two pieces where a model takes pieces; logits of every word."""
    ours, theirs = load_punctuator(folder), load_punctuator(opened)

    def marked(punctuator: Punctuator, text: str) -> tuple[Any, ...]:
        whole = punctuator.punctuate(text)
        if not punctuator.network.realtime:
            return (whole,)
        half = len(text) // 2
        begun = punctuator.feed(text[:half], [])
        return whole, begun, punctuator.feed(text[half:], begun[2])

    def logits(punctuator: Punctuator, text: str) -> Tensor:
        words = punctuator.splitter(text)
        ids = punctuator.word_ids(words)
        return punctuator.network(ids, torch.tensor([len(words)]), len(words) // 2) if words else ids

    different = [key for key, text in texts.items() if marked(ours, text) != marked(theirs, text)]
    return different, (difference(logits(ours, text), logits(theirs, text)) for text in texts.values())


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference of two elements; infinite where the shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours - theirs).abs().max()) if ours.numel() else 0.0
