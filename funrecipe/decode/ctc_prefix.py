"""CTC by itself (greedy, prefix beam search) and as a scorer of prefixes inside a joint search.

The prefix scores are algorithm 2 of Watanabe et al., "Hybrid CTC/Attention Architecture for End-to-End Speech
Recognition" (2017). Its recursion over frames is written as cumulative log-sums, so that no Python loop runs over the
frames; float64 keeps the differences of long sums exact. A prefix can continue only in the frames where it may have
arrived: the vocabulary is scored over those, so that the cost of a step does not depend on the length of the recording.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from funrecipe.models.layers import length_mask
from funrecipe.models.special_ids import BLANK_ID, EOS_ID

LOG_ZERO = -1e10
# A frame by which no prefix has arrived with this share of the probability of its best frame adds nothing that float64
# would show, except to tokens whose probability in the other frames is as small as this.
NEGLIGIBLE = 1e-40
_Node = tuple[int, int]


@dataclass
class PrefixState:
    """Forward log-probabilities of K prefixes per utterance.

    Attributes:
        non_blank, blank: (B, K, T) float64, log-probability of the prefix by frame t that ends in its last token, or in
            a blank.
        prefix_score: (B, K) float64, log-probability of all texts that begin with the prefix.
        last: (B, K), last token of the prefix; -1 for the empty one.
        is_empty: whether the prefixes are empty.
    """

    non_blank: Tensor
    blank: Tensor
    prefix_score: Tensor
    last: Tensor
    is_empty: bool

    @cached_property
    def arrivals(self) -> tuple[Tensor, Tensor]:
        """Log-probability of having the prefix before frame t, by any ending and by a blank: each (B, K, T)."""
        start = 0.0 if self.is_empty else LOG_ZERO
        before = torch.full_like(self.blank[..., :1], start)
        either = torch.logaddexp(self.non_blank, self.blank)
        return torch.cat([before, either[..., :-1]], dim=-1), torch.cat([before, self.blank[..., :-1]], dim=-1)


class CTCPrefixScorer:
    """Scores continuations of prefixes by CTC, batched over utterances and hypotheses.

    Args:
        log_probs: (B, T, V) of the CTC head.
        lens: (B,) valid frames.
    """

    def __init__(self, log_probs: Tensor, lens: Tensor) -> None:
        self.log_probs, self.by_token = log_probs, log_probs.transpose(1, 2).contiguous()
        self.lens, self.frame_mask = lens, length_mask(lens, log_probs.size(1))
        self.utterances = torch.arange(len(lens), device=lens.device)  # those still being searched

    def rows(self, rows: Tensor) -> CTCPrefixScorer:
        """The scorer of some utterances; the tables stay where they are."""
        part = copy(self)
        part.utterances, part.lens, part.frame_mask = self.utterances[rows], self.lens[rows], self.frame_mask[rows]
        return part

    @cached_property
    def probs(self) -> Tensor:
        """(B, T, V) float64, the probabilities; only the vocabulary's scores need them."""
        return self.log_probs.double().exp()

    def start(self) -> PrefixState:
        """The empty prefix of every utterance."""
        blank = self.by_token[self.utterances, BLANK_ID].double().cumsum(-1).unsqueeze(1)
        nowhere = torch.full_like(blank, LOG_ZERO)
        last = torch.full(blank.shape[:2], -1, device=blank.device)
        return PrefixState(nowhere, blank, blank.new_zeros(blank.shape[:2]), last, True)

    def score(self, state: PrefixState, tokens: Tensor | None) -> Tensor:
        """Log-probability that each continuation ``adds`` (B, K, P) for tokens (B, K, P), (B, K, V) for None."""
        either, after_blank = state.arrivals
        hidden = ~self.frame_mask.unsqueeze(1)
        either, after_blank = either.masked_fill(hidden, -torch.inf), after_blank.masked_fill(hidden, -torch.inf)
        # a repeated token needs a blank between
        repeated = torch.logsumexp(after_blank + self._frames_of(state.last.clamp(min=0)), dim=-1)
        if tokens is None:
            total = self._score_vocabulary(either)
            if not state.is_empty:
                total.scatter_(-1, state.last.unsqueeze(-1), repeated.unsqueeze(-1))
            total[..., EOS_ID] = self._whole_text(state)
        else:
            total = torch.logsumexp(either.unsqueeze(2) + self._frames_of(tokens), dim=-1)
            total = torch.where(tokens == state.last.unsqueeze(-1), repeated.unsqueeze(-1), total)
            total = torch.where(tokens == EOS_ID, self._whole_text(state).unsqueeze(-1), total)
        added = total.clamp_(min=LOG_ZERO).sub_(state.prefix_score.unsqueeze(-1))
        # blank is not a token: a text with one would be found again, at no cost, by what follows it
        if tokens is None:
            added[..., BLANK_ID] = -torch.inf
            return added
        return added.masked_fill_(tokens == BLANK_ID, -torch.inf)

    def extend(self, state: PrefixState, rows: Tensor, parents: Tensor, tokens: Tensor, added: Tensor) -> PrefixState:
        """The prefixes ``state[rows][parents] + tokens``.

        ``rows`` (A,): utterances kept; ``parents``, ``tokens`` (A, K'); ``added`` (A, K'): what ``score`` gave them.
        """
        pick = (rows.unsqueeze(1), parents)
        either, after_blank = (part[pick] for part in state.arrivals)
        last = state.last[pick]
        arrival = torch.where((tokens == last).unsqueeze(-1), after_blank, either)
        utterances = self.utterances[rows]
        frames = self.by_token[utterances.unsqueeze(1), tokens].double()
        non_blank = forward_sum(arrival, frames)
        before = torch.full_like(arrival[..., :1], LOG_ZERO)
        blanks = self.by_token[utterances, BLANK_ID].double().unsqueeze(1)
        blank = forward_sum(torch.cat([before, non_blank[..., :-1]], dim=-1), blanks)
        return PrefixState(non_blank, blank, state.prefix_score[pick] + added.clamp(min=LOG_ZERO), tokens, False)

    def _frames_of(self, tokens: Tensor) -> Tensor:
        """Per-frame log-probabilities of tokens (B, ...) -> (B, ..., T) float64."""
        rows = self.utterances.view(-1, *[1] * (tokens.dim() - 1))
        return self.by_token[rows, tokens].double()

    def _score_vocabulary(self, arrival: Tensor) -> Tensor:
        """logsumexp over frames of arrival + log-probability, for all tokens, as one matrix product per utterance."""
        peak = arrival.amax(-1, keepdim=True).clamp(min=LOG_ZERO)
        weight = (arrival - peak).exp()
        reached = (weight > NEGLIGIBLE).any(1).long()  # (B, T); if it is in none, all frames count
        spans = torch.stack([reached.argmax(-1), reached.size(-1) - reached.flip(-1).argmax(-1)], dim=1).tolist()
        rows = [
            torch.matmul(w[:, first:end], self.probs[utterance, first:end])
            for w, utterance, (first, end) in zip(weight, self.utterances.tolist(), spans, strict=True)
        ]
        return torch.stack(rows).log_().add_(peak)

    def _whole_text(self, state: PrefixState) -> Tensor:
        """Log-probability that the text is the prefix and nothing ``more`` (B, K)."""
        end = (self.lens - 1).clamp(min=0)[:, None, None].expand(*state.last.shape, 1)
        return torch.logaddexp(state.non_blank, state.blank).gather(-1, end).squeeze(-1)


def forward_sum(arrival: Tensor, frames: Tensor) -> Tensor:
    """r[t] = logaddexp(r[t-1], arrival[t]) + frames[t], for all t at once. (..., T) float64."""
    along = frames.cumsum(-1)
    return along + torch.logcumsumexp(arrival - (along - frames), dim=-1)


def greedy_search(log_probs: Tensor, lens: Tensor) -> list[tuple[list[int], float]]:
    """Best path: arg-max per frame, repetitions merged, blanks dropped; with the log-probability of the path."""
    best, ids = log_probs.max(-1)
    results = []
    for row, frames in enumerate(lens.tolist()):
        path = torch.unique_consecutive(ids[row, :frames])
        results.append((path[path != BLANK_ID].tolist(), float(best[row, :frames].sum())))
    return results


def prefix_beam_search(log_probs: Tensor, beam_size: int) -> list[tuple[list[int], float]]:
    """CTC prefix beam search (Hannun et al., arXiv:1408.2873) of one utterance, best first.

    Args:
        log_probs: (T, V).
        beam_size: prefixes kept after every frame, and tokens tried per frame (at least 10).

    Returns:
        (token ids, log-probability of all paths found for them) of the prefixes left.
    """
    tries = min(max(beam_size, 10), log_probs.size(1))
    scores, ids = log_probs.double().topk(tries, dim=-1)
    # A prefix is a node of a tree: (number of the prefix without its last token, its last token). Those that survive a
    # frame get a number themselves.
    nodes = [(0, -1)]
    numbers: dict[_Node, int] = {}
    beam: dict[int, tuple[float, float]] = {0: (0.0, -math.inf)}
    for frame_scores, frame_ids in zip(scores.tolist(), ids.tolist(), strict=True):
        by_blank: defaultdict[int | _Node, float] = defaultdict(lambda: -math.inf)
        by_token: defaultdict[int | _Node, float] = defaultdict(lambda: -math.inf)
        for prefix, (ends_blank, ends_token) in beam.items():
            either = log_add(ends_blank, ends_token)
            last = nodes[prefix][1]
            for score, token in zip(frame_scores, frame_ids, strict=True):
                if token == BLANK_ID:
                    by_blank[prefix] = log_add(by_blank[prefix], either + score)
                    continue
                before = either
                if token == last:
                    by_token[prefix] = log_add(by_token[prefix], ends_token + score)
                    if ends_blank == -math.inf:
                        continue
                    before = ends_blank
                node = (prefix, token)
                longer = numbers.get(node, node)
                by_token[longer] = log_add(by_token[longer], before + score)
        grown = {prefix: (by_blank[prefix], by_token[prefix]) for prefix in {**by_blank, **by_token}}
        beam = {}
        for found, ends in sorted(grown.items(), key=lambda item: log_add(*item[1]), reverse=True)[:beam_size]:
            if isinstance(found, tuple):
                numbers[found] = len(nodes)
                nodes.append(found)
                found = len(nodes) - 1
            beam[found] = ends
    return [(_tokens_to(prefix, nodes), log_add(*ends)) for prefix, ends in beam.items()]


def _tokens_to(node: int, nodes: Sequence[_Node]) -> list[int]:
    """The tokens from the root of the tree to a node."""
    tokens = []
    while node:
        node, token = nodes[node]
        tokens.append(token)
    return tokens[::-1]


def log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
