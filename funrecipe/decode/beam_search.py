"""Joint beam search over weighted scorers, batched over hypotheses and utterances.

Semantics are those of ESPnet's BeamSearch as FunASR ships it (Watanabe et al. 2017): the best ``int(1.5 * beam_size)``
continuations by the full scorers get a CTC prefix score, the best ``beam_size`` by the sum survive, those that end
leave the beam, and all end at the length limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from funrecipe.decode.ctc_prefix import CTCPrefixScorer
from funrecipe.decode.options import DecodeOptions
from funrecipe.errors import DataError
from funrecipe.models.special_ids import BLANK_ID, EOS_ID, SOS_ID

PRE_BEAM_RATIO = 1.5
END_DETECT_LENGTHS, END_DETECT_MARGIN = 3, -10.0


class Scorer(Protocol):
    """Scores every next token of every hypothesis, with a state per hypothesis.

    ``State`` is a list of tensors that begin with (B, K): utterance, hypothesis.
    """

    name: str
    weight: float

    def start(self, batch: int) -> list[Tensor]:
        """State of the empty hypothesis of each utterance (K = 1)."""

    def step(self, tokens: Tensor, state: list[Tensor], position: int) -> tuple[Tensor, list[Tensor]]:
        """``tokens`` (B, K), the last ones -> log-probabilities (B, K or 1, V) and the state after them."""

    def rows(self, rows: Tensor) -> Scorer:
        """The scorer of some utterances."""


@dataclass(frozen=True)
class BeamOptions:
    """What bounds a search. ``ctc_weight`` 1.0 turns the pre-beam off: CTC then scores the whole vocabulary."""

    beam_size: int
    ctc_weight: float = 0.0
    penalty: float = 0.0
    maxlenratio: float = 0.0
    minlenratio: float = 0.0

    @classmethod
    def of(cls, options: DecodeOptions, beam_size: int) -> BeamOptions:
        """What ``options`` say; ``beam_size`` is the default of theirs, but at least the n-best."""
        others = {row.name: getattr(options, row.name) or 0.0 for row in fields(cls) if row.name != "beam_size"}
        return cls(options.beam_size or max(beam_size, options.nbest or 1), **others)

    def long_enough(self, hyps: list[BeamHypothesis], frames: int) -> list[BeamHypothesis]:
        """Without texts shorter than ``minlenratio`` allows, unless all are shorter.

        FunASR accepts this option and ignores it; here it filters the results and does not affect the search.
        """
        least = int(self.minlenratio * frames)
        return [hyp for hyp in hyps if hyp.n_tokens >= least] or hyps

    def max_length(self, frames: int) -> int:
        """Maximum number of steps: the frames of the utterance, a share of them, or (negative ratio) a constant."""
        if self.maxlenratio < 0:
            return int(-self.maxlenratio)
        return frames if self.maxlenratio == 0 else max(1, int(self.maxlenratio * frames))


@dataclass(frozen=True)
class BeamHypothesis:
    """``tokens`` with sos and eos; ``score`` is the weighted sum; ``scores`` the unweighted parts by scorer."""

    tokens: list[int]
    score: float
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def n_tokens(self) -> int:
        """Tokens of the text; at the length limit there may be two eos at the end."""
        ends = 2 if self.tokens[-2] == self.tokens[-1] else 1
        return len(self.tokens) - 1 - ends


@dataclass
class _Beam:
    """The running hypotheses of the utterances that are not ``finished`` (A, K) grids, unused places scored -inf."""

    utterances: Tensor
    tokens: Tensor
    scores: Tensor
    parts: dict[str, Tensor]
    states: list[list[Tensor]]
    prefix: Any


class JointBeamSearch:
    """One search over a batch of encoded utterances.

    Args:
        scorers: full scorers (decoder, language model, acoustic scores of Paraformer ...).
        ctc: prefix scorer or None.
        options: sizes and weights.
        vocab_size: tokens that a step chooses from.
    """

    def __init__(
        self,
        scorers: Sequence[Scorer],
        ctc: CTCPrefixScorer | None,
        options: BeamOptions,
        *,
        vocab_size: int,
    ) -> None:
        self.scorers, self.ctc, self.options = list(scorers), ctc, options
        self.vocab_size = vocab_size

    def run(self, max_lengths: Sequence[int], device: torch.device) -> list[list[BeamHypothesis]]:
        """All ended hypotheses of each utterance, best first; none for an utterance with no step to make."""
        ended: list[list[BeamHypothesis]] = [[] for _ in max_lengths]
        rows = torch.tensor([i for i, limit in enumerate(max_lengths) if limit > 0], device=device, dtype=torch.long)
        if rows.numel() == 0:
            return ended
        self._keep(rows)
        beam: _Beam | None = self._start(rows, device)
        for position in range(max(max_lengths)):
            beam = self._advance(beam, position, max_lengths, ended)
            if beam is None:
                break
        return [sorted(hyps, key=lambda hyp: hyp.score, reverse=True) for hyps in ended]

    def _keep(self, rows: Tensor) -> None:
        self.scorers = [scorer.rows(rows) for scorer in self.scorers]
        self.ctc = self.ctc and self.ctc.rows(rows)

    def _start(self, rows: Tensor, device: torch.device) -> _Beam:
        batch = rows.numel()
        names = [scorer.name for scorer in self.scorers] + ["length_bonus"] * bool(self.options.penalty)
        names += ["ctc"] * (self.ctc is not None)
        zeros = torch.zeros(batch, 1, device=device)
        return _Beam(
            utterances=rows,
            tokens=torch.full((batch, 1, 1), SOS_ID, device=device),
            scores=zeros,
            parts=dict.fromkeys(names, zeros),
            states=[scorer.start(batch) for scorer in self.scorers],
            prefix=self.ctc and self.ctc.start(),
        )

    def _advance(
        self, beam: _Beam, position: int, max_lengths: Sequence[int], ended: list[list[BeamHypothesis]]
    ) -> _Beam | None:
        """One more token: score, select, remove the ended. None when no hypothesis continues."""
        added, totals, candidates, ctc_scores = self._score(beam, position)
        size = min(self.options.beam_size, totals.size(1) * totals.size(2))
        scores, places = totals.flatten(1).topk(size, dim=1)
        if scores.isnan().any():  # such hypotheses are never kept, and the text would seem to be empty
            raise DataError("the scores of the search are not numbers (NaN)", hint="use other weights or fp32")
        width = totals.size(2)
        parents, within = places // width, places % width
        grid = torch.arange(len(parents), device=parents.device).unsqueeze(1)
        new = within if candidates is None else candidates[grid, parents, within]
        parts = {}
        for name, so_far in beam.parts.items():
            table, column = (ctc_scores, within) if name == "ctc" else (added[name], new)
            table = table.expand(-1, totals.size(1), -1)
            parts[name] = so_far[grid, parents] + table[grid, parents, column]
        tokens = torch.cat([beam.tokens[grid, parents], new.unsqueeze(2)], dim=2)
        runs = self._collect(beam, tokens, scores, parts, position, max_lengths, ended)
        return self._shrink(beam, runs, parents, tokens, scores, parts, ctc_scores, within)

    def _score(self, beam: _Beam, position: int) -> tuple[dict[str, Tensor], Tensor, Tensor | None, Tensor | None]:
        """Per-scorer tables, totals (A, K, P or V), the P candidates (None: the vocabulary) and their CTC scores."""
        last = beam.tokens[:, :, -1]
        added: dict[str, Tensor] = {}
        weighted = torch.zeros(len(last), 1, self.vocab_size, device=last.device)
        for number, scorer in enumerate(self.scorers):
            added[scorer.name], beam.states[number] = scorer.step(last, beam.states[number], position)
            weighted = weighted + scorer.weight * added[scorer.name]
        if self.options.penalty:
            added["length_bonus"] = torch.ones(1, device=last.device).expand_as(weighted)
            weighted = weighted + self.options.penalty
        candidates = ctc_scores = None
        if self.ctc is not None:
            pre_beam = int(PRE_BEAM_RATIO * self.options.beam_size)
            if self.options.ctc_weight < 1.0 and pre_beam < self.vocab_size:
                weighted = weighted.expand(-1, last.size(1), -1)
                if pre_beam == 1:  # the only candidate must not be the blank, which no text contains
                    weighted = weighted.index_fill(-1, torch.tensor([BLANK_ID], device=last.device), -torch.inf)
                weighted, candidates = weighted.topk(pre_beam, dim=-1)
            ctc_scores = self.ctc.score(beam.prefix, candidates).float()
            weighted = weighted + self.options.ctc_weight * ctc_scores
        return added, weighted + beam.scores.unsqueeze(2), candidates, ctc_scores

    def _collect(
        self,
        beam: _Beam,
        tokens: Tensor,
        scores: Tensor,
        parts: dict[str, Tensor],
        position: int,
        max_lengths: Sequence[int],
        ended: list[list[BeamHypothesis]],
    ) -> Tensor:
        """Move finished hypotheses into ``ended``; returns (A, K) bool, which hypotheses continue."""
        alive = scores > -math.inf
        is_eos = tokens[:, :, -1] == EOS_ID
        runs = alive & ~is_eos
        for row, utterance in enumerate(beam.utterances.tolist()):
            at_limit = position == max_lengths[utterance] - 1
            for place in torch.nonzero(alive[row] if at_limit else alive[row] & is_eos[row]).flatten().tolist():
                ids = tokens[row, place].tolist() + [EOS_ID] * at_limit
                by_name = {name: float(part[row, place]) for name, part in parts.items()}
                ended[utterance].append(BeamHypothesis(ids, float(scores[row, place]), by_name))
            if at_limit or (self.options.maxlenratio == 0 and end_detected(ended[utterance], position)):
                runs[row] = False
        return runs

    def _shrink(
        self,
        beam: _Beam,
        runs: Tensor,
        parents: Tensor,
        tokens: Tensor,
        scores: Tensor,
        parts: dict[str, Tensor],
        ctc_scores: Tensor | None,
        within: Tensor,
    ) -> _Beam | None:
        """The next beam: only utterances and places that continue, with the states of their parents."""
        rows = torch.nonzero(runs.any(1)).flatten()
        if rows.numel() == 0:
            return None
        runs = runs[rows]
        width = int(runs.sum(1).max())
        order = (~runs).long().sort(dim=1, stable=True).indices[:, :width]
        pick = (rows.unsqueeze(1), order)
        new_tokens, chosen = tokens[pick], parents[pick]
        states = [[part[rows.unsqueeze(1), chosen] for part in state] for state in beam.states]
        prefix = beam.prefix
        if self.ctc is not None:
            gained = ctc_scores[rows.unsqueeze(1), chosen, within[pick]].double()
            prefix = self.ctc.extend(beam.prefix, rows, chosen, new_tokens[:, :, -1], gained)
        if rows.numel() < len(parents):
            self._keep(rows)
        return _Beam(
            utterances=beam.utterances[rows],
            tokens=new_tokens,
            scores=scores[pick].masked_fill(~runs.gather(1, order), -torch.inf),
            parts={name: part[pick] for name, part in parts.items()},
            states=states,
            prefix=prefix,
        )


def end_detected(ended: Sequence[BeamHypothesis], position: int) -> bool:
    """Whether the last three lengths ended far below the best (equation 50 of Watanabe et al. 2017)."""
    if not ended:
        return False
    best = max(hyp.score for hyp in ended)
    for length in range(position, position - END_DETECT_LENGTHS, -1):
        scores = [hyp.score for hyp in ended if len(hyp.tokens) == length]
        if not scores or max(scores) - best >= END_DETECT_MARGIN:
            return False
    return True
