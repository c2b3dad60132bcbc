"""Searches over an RNN transducer: default beam search, time- and alignment-length-synchronous, and mAES.

Each takes the encoder frames of one utterance, or the next frames of a stream, and the hypotheses so far. Results are
those of FunASR's BeamSearchTransducer.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from funrecipe.decode.ctc_prefix import log_add
from funrecipe.decode.scorers import LMScorer
from funrecipe.errors import DataError
from funrecipe.models.special_ids import BLANK_ID, SOS_ID
from funrecipe.models.transducer import PredictionState, TransducerModel

MAX_SYMBOLS = 3  # expansions per frame in tsd
MAX_EXPANSIONS = 200  # per frame in default, times the beam; a few are usual
EXPANSION_STEPS, EXPANSION_GAMMA, EXPANSION_BETA = 2, 2.3, 2  # mAES: per frame; pruning margin; extra candidates


@dataclass(frozen=True)
class TransducerOptions:
    """Settings of the searches.

    Attributes:
        search_type: default (Graves 2012), tsd and alsd (Saon et al. 2020), maes (Kim et al. 2020).
        score_norm: order the results by score per label.
        max_labels: longest text in alsd.
    """

    beam_size: int = 5
    search_type: str = "default"
    score_norm: bool = False
    max_labels: int = 50


@dataclass(frozen=True)
class Prediction:
    """What follows a label sequence: the projected prediction (J,), its state, what fusion adds, and its states."""

    joint_part: Tensor
    state: PredictionState
    fusion_scores: list[float] | None = None
    fusion_states: tuple[list[Tensor], ...] = ()


@dataclass
class TransducerHypothesis:
    """``tokens`` begins with blank; ``before`` is the prediction of the labels without the last one."""

    tokens: tuple[int, ...]
    score: float
    before: Prediction | None = None


class TransducerSearch:
    """One model, one set of options; hypotheses and caches belong to the caller, so streams do not mix."""

    ALGORITHMS: ClassVar[dict[str, str]] = {
        "default": "_default",
        "tsd": "_time_sync",
        "alsd": "_alignment_sync",
        "maes": "_adaptive_expansion",
    }

    def __init__(self, model: TransducerModel, options: TransducerOptions, fusion: Sequence[LMScorer] = ()) -> None:
        self.model, self.options, self.fusion = model, options, tuple(fusion)
        self.algorithm: Callable[..., list[TransducerHypothesis]] = getattr(self, self.ALGORITHMS[options.search_type])

    def start(self) -> list[TransducerHypothesis]:
        """The beam before the first frame."""
        return [TransducerHypothesis((BLANK_ID,), 0.0)]

    def advance(self, beam: list[TransducerHypothesis], encoder_out: Tensor) -> list[TransducerHypothesis]:
        """The beam after the frames ``encoder_out`` (T, D)."""
        if not encoder_out.size(0):
            return beam
        return self.algorithm(beam, self.model.joint_network.lin_enc(encoder_out))

    def results(self, beam: Sequence[TransducerHypothesis]) -> list[TransducerHypothesis]:
        """The hypotheses of a beam, best first."""
        return sorted(beam, key=self._rank, reverse=True)

    def _rank(self, hyp: TransducerHypothesis) -> float:
        return hyp.score / len(hyp.tokens) if self.options.score_norm else hyp.score

    def _predict(
        self, hyps: Sequence[TransducerHypothesis], cache: dict[tuple[int, ...], Prediction]
    ) -> list[Prediction]:
        """The predictions after each hypothesis; those not in ``cache`` are computed together."""
        missing = {hyp.tokens: hyp for hyp in hyps if hyp.tokens not in cache}
        if missing:
            network, device = self.model.decoder, self.model.device
            labels = torch.tensor([[tokens[-1]] for tokens in missing], device=device)
            states = [hyp.before.state if hyp.before else network.start(1, device) for hyp in missing.values()]
            out, after = network(labels, tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True)))
            joint_parts = self.model.joint_network.lin_dec(out[:, 0])
            for row, (tokens, hyp) in enumerate(missing.items()):
                state = tuple(part[:, row : row + 1] for part in after)
                cache[tokens] = self._fused(Prediction(joint_parts[row], state), tokens, hyp.before)
        return [cache[hyp.tokens] for hyp in hyps]

    def _fused(self, prediction: Prediction, tokens: tuple[int, ...], before: Prediction | None) -> Prediction:
        """With the scores of the language models, for which a text begins with sos."""
        if not self.fusion:
            return prediction
        states = before.fusion_states if before else tuple(scorer.start(1) for scorer in self.fusion)
        last = torch.tensor([[tokens[-1] if len(tokens) > 1 else SOS_ID]], device=prediction.joint_part.device)
        steps = [scorer.step(last, state, 0) for scorer, state in zip(self.fusion, states, strict=True)]
        total = sum(scorer.weight * scores[0, 0] for scorer, (scores, _) in zip(self.fusion, steps, strict=True))
        return replace(prediction, fusion_scores=total.tolist(), fusion_states=tuple(state for _, state in steps))

    def _log_probs(self, frame: Tensor, predictions: Sequence[Prediction]) -> Tensor:
        """(N, V) for encoder parts (J,) or (N, J) and N predictions."""
        parts = torch.stack([prediction.joint_part for prediction in predictions])
        return torch.log_softmax(self.model.joint_network.combine(frame, parts), dim=-1)

    def _grown(
        self, hyp: TransducerHypothesis, token: int, log_prob: float, prediction: Prediction
    ) -> TransducerHypothesis:
        """``hyp`` and one label, with the part of its score that fusion adds."""
        bonus = prediction.fusion_scores[token] if prediction.fusion_scores else 0.0
        return TransducerHypothesis((*hyp.tokens, token), hyp.score + log_prob + bonus, prediction)

    def _default(self, beam: list[TransducerHypothesis], frames: Tensor) -> list[TransducerHypothesis]:
        """Best-first expansion at every frame until enough hypotheses that advanced beat all that have not.

        Raises:
            DataError: that does not happen, since a blank is next to impossible after any labels, or scores are NaN.
        """
        width = min(self.options.beam_size, self.model.decoder.vocab_size - 1)
        cache: dict[tuple[int, ...], Prediction] = {}
        for frame in frames:
            waiting = [(-hyp.score, order, hyp) for order, hyp in enumerate(beam)]
            heapq.heapify(waiting)
            order = len(waiting)
            kept: list[TransducerHypothesis] = []
            while True:
                if len(kept) == MAX_EXPANSIONS * self.options.beam_size:
                    raise DataError(f"the search finds no end at a frame: no blank after {len(kept)} hypotheses")
                hyp = heapq.heappop(waiting)[2]
                prediction = self._predict([hyp], cache)[0]
                log_probs = self._log_probs(frame, [prediction])[0]
                kept.append(replace(hyp, score=hyp.score + float(log_probs[BLANK_ID])))
                values, labels = log_probs[1:].topk(width)
                for value, label in zip(values.tolist(), labels.tolist(), strict=True):
                    grown = self._grown(hyp, label + 1, value, prediction)
                    heapq.heappush(waiting, (-grown.score, order, grown))
                    order += 1
                ahead = sorted((h for h in kept if h.score > -waiting[0][0]), key=lambda h: h.score)
                if len(ahead) >= self.options.beam_size:
                    beam = ahead
                    break
        return beam

    def _time_sync(self, beam: list[TransducerHypothesis], frames: Tensor) -> list[TransducerHypothesis]:
        """Up to ``MAX_SYMBOLS`` labels per frame, all hypotheses at the same frame."""
        size = self.options.beam_size
        cache: dict[tuple[int, ...], Prediction] = {}
        for frame in frames:
            through: dict[tuple[int, ...], TransducerHypothesis] = {}
            expanding = beam
            for number in range(MAX_SYMBOLS):
                predictions = self._predict(expanding, cache)
                log_probs = self._log_probs(frame, predictions)
                for hyp, blank in zip(expanding, log_probs[:, BLANK_ID].tolist(), strict=True):
                    self._merge(through, replace(hyp, score=hyp.score + blank))
                if number == MAX_SYMBOLS - 1:
                    break
                expanding = best(self._expand(expanding, predictions, log_probs), size)
            beam = best(through.values(), size)
        return beam

    def _alignment_sync(self, beam: list[TransducerHypothesis], frames: Tensor) -> list[TransducerHypothesis]:
        """All hypotheses at the same frames + labels; needs the whole utterance."""
        count = frames.size(0)
        final: list[TransducerHypothesis] = []
        cache: dict[tuple[int, ...], Prediction] = {}
        for step in range(count + min(self.options.max_labels, count - 1)):
            running = [hyp for hyp in beam if step - (len(hyp.tokens) - 1) < count]
            if not running:
                continue
            at = [step - (len(hyp.tokens) - 1) for hyp in running]
            predictions = self._predict(running, cache)
            log_probs = self._log_probs(frames[at], predictions)
            grown = self._expand(running, predictions, log_probs)
            width = len(grown) // len(running)
            candidates: list[TransducerHypothesis] = []
            for row, hyp in enumerate(running):
                waiting = replace(hyp, score=hyp.score + float(log_probs[row, BLANK_ID]))
                candidates += [waiting, *grown[row * width : (row + 1) * width]]
                if at[row] == count - 1:
                    final.append(waiting)
            merged: dict[tuple[int, ...], TransducerHypothesis] = {}
            for hyp in best(candidates, self.options.beam_size):
                self._merge(merged, hyp)
            beam = list(merged.values())
        return final or beam

    def _adaptive_expansion(self, beam: list[TransducerHypothesis], frames: Tensor) -> list[TransducerHypothesis]:
        """mAES: a few expansion steps per frame, of the labels close enough to the best."""
        cache: dict[tuple[int, ...], Prediction] = {}
        for frame in frames:
            expanding, through = beam, []
            for number in range(EXPANSION_STEPS):
                predictions = self._predict(expanding, cache)
                log_probs = self._log_probs(frame, predictions)
                waiting, grown = self._close_to_best(expanding, predictions, log_probs)
                through += waiting
                if not grown:
                    break
                if number == EXPANSION_STEPS - 1:
                    blanks = self._log_probs(frame, self._predict(grown, cache))[:, BLANK_ID].tolist()
                    through += [replace(h, score=h.score + blank) for h, blank in zip(grown, blanks, strict=True)]
                expanding = grown
            merged: dict[tuple[int, ...], TransducerHypothesis] = {}
            for hyp in through:
                self._merge(merged, hyp)
            beam = best(merged.values(), self.options.beam_size)
        return beam

    def _close_to_best(
        self, hyps: Sequence[TransducerHypothesis], predictions: Sequence[Prediction], log_probs: Tensor
    ) -> tuple[list[TransducerHypothesis], list[TransducerHypothesis]]:
        """Continuations within ``EXPANSION_GAMMA`` of each hypothesis' best: those by a blank, those by a label."""
        width = min(self.options.beam_size + EXPANSION_BETA, log_probs.size(1))
        waiting, grown = [], []
        values, labels = log_probs.topk(width, dim=-1)
        for hyp, prediction, row, ids in zip(hyps, predictions, values.tolist(), labels.tolist(), strict=True):
            for value, label in zip(row, ids, strict=True):
                if hyp.score + value < hyp.score + row[0] - EXPANSION_GAMMA:
                    continue
                if label == BLANK_ID:
                    waiting.append(replace(hyp, score=hyp.score + value))
                else:
                    grown.append(self._grown(hyp, label, value, prediction))
        return waiting, grown

    def _expand(
        self, hyps: Sequence[TransducerHypothesis], predictions: Sequence[Prediction], log_probs: Tensor
    ) -> list[TransducerHypothesis]:
        """The best ``beam_size`` labels after each hypothesis."""
        values, labels = log_probs[:, 1:].topk(min(self.options.beam_size, log_probs.size(1) - 1), dim=-1)
        return [
            self._grown(hyp, label + 1, value, prediction)
            for hyp, prediction, row, ids in zip(hyps, predictions, values.tolist(), labels.tolist(), strict=True)
            for value, label in zip(row, ids, strict=True)
        ]

    @staticmethod
    def _merge(found: dict[tuple[int, ...], TransducerHypothesis], hyp: TransducerHypothesis) -> None:
        """Add a hypothesis; the same labels by two alignments are one text."""
        known = found.setdefault(hyp.tokens, hyp)
        if known is not hyp:
            known.score = log_add(known.score, hyp.score)


def best(hyps: Sequence[TransducerHypothesis], size: int) -> list[TransducerHypothesis]:
    return sorted(hyps, key=lambda hyp: hyp.score, reverse=True)[:size]
