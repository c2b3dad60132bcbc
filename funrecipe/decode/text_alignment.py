"""When each token of a known text is spoken: by a timestamp predictor, or by the CTC head of a recognizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from funrecipe.audio.frontend import WavFrontend
from funrecipe.decode.recognizer import load_model
from funrecipe.decode.timestamps import (
    ALIGNER_SHIFT_STEPS,
    SHIFT_STEPS,
    Span,
    align,
    ctc_spans,
    encoder_frame_ms,
    fires_as_often_as,
    rounded_times_ms,
    spread_evenly,
    token_times_ms,
)
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.bicif_paraformer import END_TOKEN, CifPredictorV3, TimestampPredictor

SILENCE = "<sil>"


@dataclass(frozen=True)
class AlignedText:
    """The tokens of a text with their times.

    Attributes:
        tokens: as the model spells the text, ``@@`` kept; what its vocabulary lacks is left as it is.
        times_ms: ``[start, end]`` of every token.
        spans: the tokens and the silences between them, in seconds.
        is_estimated: the model found a different number of tokens in the audio (or hardly any audio); the times were
            fitted to the text by the rules of docs/timestamps.md.
    """

    tokens: list[str]
    times_ms: list[list[int]]
    spans: list[Span]
    is_estimated: bool = False

    def as_text(self) -> str:
        """FunASR's string form: ``token start end;``, five characters a number, ``<sil>`` for silence."""
        named = ((SILENCE if span.token is None else self.tokens[span.token], span) for span in self.spans)
        return "".join(
            f"{name} {str(span.start_s + 0.0005)[:5]} {str(span.end_s + 0.0005)[:5]};" for name, span in named
        )


class TextAligner:
    """Aligns texts with audio. Keeps no state between calls, so threads may share it.

    Raises:
        UsageError: the model has neither a timestamp predictor nor a CTC head.
    """

    def __init__(self, model: nn.Module, folder: ModelFolder, device: torch.device | str = "cpu") -> None:
        self.model, self.device = model, torch.device(device)
        self.tokenizer, self.sample_rate_hz = folder.tokenizer, folder.sample_rate_hz
        self.frontend = WavFrontend.from_config(folder.config.get("frontend_conf") or {}, folder.cmvn).eval().to(device)
        self.frame_s = encoder_frame_ms(folder, model) / 1000
        self.has_fine_head = isinstance(getattr(model, "predictor", None), CifPredictorV3)
        if not self.has_fine_head and ("timestamp" not in folder.row.options or getattr(model, "ctc", None) is None):
            raise UsageError(
                f"this model of family '{folder.family}' has neither a timestamp predictor nor a CTC head",
                where=str(folder.path),
                hint="give a timestamp model, such as damo/speech_timestamp_prediction-v1-16k-offline",
            )

    @torch.inference_mode()
    def align(self, waveforms: Sequence[np.ndarray], texts: Sequence[str]) -> list[AlignedText]:
        """One :class:`AlignedText` per waveform, float (S,) in [-1, 1]; whatever else is in the batch.

        Every token gets a time; where there is less audio than one frame, the times are spread over it.
        """
        spellings = [self.tokenizer.tokenize(text) for text in texts]
        samples = [torch.from_numpy(np.array(waveform, dtype=np.float32)) for waveform in waveforms]
        wave_lens = torch.tensor([len(wave) for wave in samples], device=self.device)
        if not samples:
            return []
        feats, feat_lens = self.frontend(pad_sequence(samples, batch_first=True).to(self.device), wave_lens)
        rows = [i for i, length in enumerate(feat_lens.tolist()) if length and spellings[i]]
        results: list[AlignedText] = []
        for tokens, wave in zip(spellings, samples, strict=True):
            spans = spread_evenly(len(tokens), len(wave) / self.sample_rate_hz)
            results.append(AlignedText(tokens, rounded_times_ms(spans), spans, is_estimated=bool(tokens)))
        if rows:
            encoded = self.model.encode(feats[rows], feat_lens[rows])
            found = self._spans(*encoded, [spellings[row] for row in rows])
            times = token_times_ms if self.has_fine_head else rounded_times_ms
            for row, (aligned, is_estimated) in zip(rows, found, strict=True):
                if aligned is not None:
                    results[row] = AlignedText(spellings[row], times(aligned), aligned, is_estimated)
        return results

    def _spans(
        self, encoder_out: Tensor, lens: Tensor, spellings: Sequence[Sequence[str]]
    ) -> Sequence[tuple[list[Span] | None, bool]]:
        """Spans of every utterance, or None where it has too few frames, and whether they are estimated."""
        if self.has_fine_head:
            return self._spans_of_fine_head(encoder_out, lens, [len(tokens) for tokens in spellings])
        log_probs = self.model.ctc.log_probs(encoder_out)
        return [
            (ctc_spans(log_probs[row, :length], self.tokenizer.ids_of(tokens), self.frame_s), False)
            for row, (length, tokens) in enumerate(zip(lens.tolist(), spellings, strict=True))
        ]

    def _spans_of_fine_head(
        self, encoder_out: Tensor, lens: Tensor, n_tokens: Sequence[int]
    ) -> list[tuple[list[Span], bool]]:
        predictor = self.model.predictor
        is_alone = isinstance(self.model, TimestampPredictor)
        token_num = torch.tensor(n_tokens, device=lens.device) + END_TOKEN
        fine = predictor.fine_cif(encoder_out, lens, token_num)
        results = []
        for row, (count, frames) in enumerate(zip(n_tokens, lens.tolist(), strict=True)):
            steps = frames * predictor.upsample_times
            alphas, peaks = fine.alphas[row, :steps], fine.peaks[row, :steps]
            shift = ALIGNER_SHIFT_STEPS if is_alone else SHIFT_STEPS
            spans = align(alphas, peaks, count, self.frame_s / predictor.upsample_times, shift=shift)
            results.append((spans, not fires_as_often_as(peaks, count)))
        return results


def load_aligner(
    folder: ModelFolder, *, device: torch.device | str = "cpu", weights: Path | None = None
) -> TextAligner:
    """Everything needed to align with a model folder.

    Raises:
        UsageError: a model that cannot align.
        DataError, UnsafeFileError: files that do not fit or are not safe.
    """
    return TextAligner(load_model(folder, device=device, weights=weights), folder, device)
