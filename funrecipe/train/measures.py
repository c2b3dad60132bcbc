"""Measures from decoding the validation set as users do: error rate, F1 of the marks, errors of the segments.

A measure sums counts over utterances and computes values from the sums, so batches and ranks can be added up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import editdistance
import torch
from torch import Tensor, nn

from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.search import Search, make_search
from funrecipe.errors import DataError
from funrecipe.families import FAMILIES, load_part
from funrecipe.model_folder import ModelFolder
from funrecipe.punctuation.punctuator import make_punctuator
from funrecipe.punctuation.render import mark_names
from funrecipe.score.punctuation import ANY, NAMES, MarkCounts
from funrecipe.score.segments import VadErrors, score_segments
from funrecipe.train.data.batching import Batch
from funrecipe.vad.options import VadOptions
from funrecipe.vad.segmenter import segments_of, sounds_like_speech

Transcribe = Callable[[nn.Module, Batch], list[list[int]]]


class Measure(Protocol):
    """Attributes: ``names`` of the values; ``size``: how many numbers are counted."""

    names: Sequence[str]
    size: int

    def count(self, model: nn.Module, batch: Batch, rows: Sequence[int]) -> list[float]:
        """``size`` numbers of the utterances ``rows`` of ``batch``, to be added up."""

    def values(self, counts: Sequence[float]) -> dict[str, float]:
        """Values by name; those without anything to divide by are left out."""


def measure_of(folder: ModelFolder) -> Measure | None:
    """The measure of a model's family; None where it decodes nothing."""
    row = FAMILIES.get(folder.family)
    if row is not None and row.measure is not None:
        return load_part(row.measure, "train")(folder)
    transcribe = transcriber(folder)
    return ErrorRate(transcribe) if transcribe is not None else None


def transcriber(folder: ModelFolder) -> Transcribe | None:
    """Greedy decoding with the family's own search, giving token ids; None where the family has no search."""
    row = FAMILIES.get(folder.family)
    if row is None or row.search is None:
        return None
    options = DecodeOptions(**row.validation)

    def transcribe(model: nn.Module, batch: Batch) -> list[list[int]]:
        search = make_search(model, folder, options)
        return [list(nbest[0].ids) if nbest else [] for nbest in _decode(search, batch.feats, batch.feat_lens)]

    return transcribe


def _decode(search: Search, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
    """Hypotheses of each utterance; none where the search finds no end, as with a transducer that has just begun."""
    try:
        return search.decode(feats, feat_lens)
    except DataError:
        if len(feats) == 1:
            return [[]]
        rows = zip(feats.split(1), feat_lens.split(1), strict=True)
        return [nbest for row, lens in rows for nbest in _decode(search, row[:, : int(lens)], lens)]


class ErrorRate:
    """``cer_decode``: edits per token of the reference."""

    names, size = ("cer_decode",), 2

    def __init__(self, transcribe: Transcribe) -> None:
        self.transcribe = transcribe

    def count(self, model: nn.Module, batch: Batch, rows: Sequence[int]) -> list[float]:
        hypotheses = self.transcribe(model, batch)
        references = {i: batch.text[i, : int(batch.text_lens[i])].tolist() for i in rows}
        edits = sum(editdistance.eval(hypotheses[i], reference) for i, reference in references.items())
        return [float(edits), float(sum(map(len, references.values())))]

    def values(self, counts: Sequence[float]) -> dict[str, float]:
        edits, tokens = counts
        return {"cer_decode": edits / tokens} if tokens else {}


class MarkMeasure:
    """``f1_comma``, ``f1_period``, ..., ``f1_any``: F1 of the marks that ``Punctuator`` puts after the words."""

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.marks = {i: NAMES[mark] for i, mark in enumerate(mark_names(folder.config["punc_list"])) if mark in NAMES}
        self.names = [f"f1_{name}" for name in (*self.marks.values(), ANY)]
        self.size = 3 * len(self.names)

    def count(self, model: nn.Module, batch: Batch, rows: Sequence[int]) -> list[float]:
        punctuator = make_punctuator(model, self.folder, batch.text.device)
        assert batch.labels is not None
        total = [MarkCounts()] * len(self.names)
        for i in rows:
            length = int(batch.text_lens[i])
            found = punctuator.mark_words([self.folder.tokens[j] for j in batch.text[i, :length].tolist()])
            pairs = list(zip(batch.labels[i, :length].tolist(), found, strict=True))
            by_mark = [count_mark(pairs, mark) for mark in self.marks]
            total = [a + b for a, b in zip(total, [*by_mark, sum(by_mark, MarkCounts())], strict=True)]
        return [float(n) for counts in total for n in (counts.hits, counts.found, counts.wanted)]

    def values(self, counts: Sequence[float]) -> dict[str, float]:
        rows = [MarkCounts(*map(int, counts[i : i + 3])) for i in range(0, self.size, 3)]
        return {name: row.f1 for name, row in zip(self.names, rows, strict=True) if row.found + row.wanted}


def count_mark(pairs: Sequence[tuple[int, int]], mark: int) -> MarkCounts:
    """How often ``mark`` was wanted and found in ``(wanted, found)``."""
    hits = sum(wanted == found == mark for wanted, found in pairs)
    return MarkCounts(hits, sum(found == mark for _, found in pairs), sum(wanted == mark for wanted, _ in pairs))


class SegmentMeasure:
    """``frame_error``, ``miss``, ``false_alarm``, ``detection_cost`` of the segments, in time.

    The segments are those of ``vad_post_conf``; its ``decibel_thres`` and ``snr_thres`` are left out, as a batch holds
    features, not sound.
    """

    names, size = ("frame_error", "miss", "false_alarm", "detection_cost"), 4

    def __init__(self, folder: ModelFolder) -> None:
        self.options = VadOptions.of(folder)

    def count(self, model: nn.Module, batch: Batch, rows: Sequence[int]) -> list[float]:
        posteriors = model(batch.feats)[0].float().cpu().numpy()
        total = VadErrors()
        for i in rows:
            frames = int(batch.feat_lens[i])
            found = segments_of(sounds_like_speech(posteriors[i, :frames], self.options).tolist(), self.options)
            reference = runs_of_speech(batch.text[i, :frames], self.options.frame_in_ms)
            total += score_segments(reference, found, frames * self.options.frame_in_ms)
        return [float(n) for n in (total.speech_ms, total.silence_ms, total.missed_ms, total.false_alarm_ms)]

    def values(self, counts: Sequence[float]) -> dict[str, float]:
        errors = VadErrors(*map(int, counts))
        rates = (errors.frame_error_rate, errors.miss_rate, errors.false_alarm_rate, errors.cost)
        return dict(zip(self.names, rates, strict=True)) if errors.total_ms else {}


def runs_of_speech(labels: torch.Tensor, frame_ms: int) -> list[tuple[int, int]]:
    """``(start, end)`` in ms of the runs of 1 in ``labels`` (T,)."""
    edges = torch.diff(labels.long().cpu(), prepend=torch.zeros(1).long(), append=torch.zeros(1).long())
    starts, ends = (torch.nonzero(edges == sign)[:, 0].tolist() for sign in (1, -1))
    return [(start * frame_ms, end * frame_ms) for start, end in zip(starts, ends, strict=True)]
