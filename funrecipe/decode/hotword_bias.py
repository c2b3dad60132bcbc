"""Shallow biasing towards hotwords: a bonus for every token of a word, taken back when the word is not completed.

The words form an Aho-Corasick automaton, so that one may begin inside another (as in WeNet's and k2's context graphs).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

BONUS_PER_TOKEN = 1.5


@dataclass
class _Node:
    """A prefix of hotwords.

    Attributes:
        depth: its tokens; ``earned``: those of the longest whole word in it.
        children: token -> node.
        shorter: the longest other prefix that it ends with.
    """

    depth: int = 0
    earned: int = 0
    children: dict[int, int] = field(default_factory=dict)
    shorter: int = 0


class HotwordBias:
    """Scores next tokens like a language model (``start``, ``step``), but in bonuses instead of log-probabilities.

    Args:
        words: token ids of each hotword, none empty.
        vocab_size: length of a row of scores.
        bonus: log-probability added per token of a hotword.
    """

    def __init__(self, words: Sequence[Sequence[int]], vocab_size: int, bonus: float = BONUS_PER_TOKEN) -> None:
        self.vocab_size, self.bonus = vocab_size, bonus
        self.nodes = [_Node()]
        for word in words:
            self._add(word)
        self._link()
        rows = [self._row(number) for number in range(len(self.nodes))]
        self.scores, self.next_nodes = (torch.stack(parts) for parts in zip(*rows, strict=True))

    def _add(self, word: Sequence[int]) -> None:
        at = 0
        for token in word:
            if token not in self.nodes[at].children:
                self.nodes[at].children[token] = len(self.nodes)
                self.nodes.append(_Node(self.nodes[at].depth + 1))
            at = self.nodes[at].children[token]
        self.nodes[at].earned = self.nodes[at].depth

    def _link(self) -> None:
        """``shorter`` and ``earned`` of every node, breadth first."""
        waiting = deque(self.nodes[0].children.values())
        while waiting:
            number = waiting.popleft()
            for token, child in self.nodes[number].children.items():
                at = self.nodes[number].shorter
                while at and token not in self.nodes[at].children:
                    at = self.nodes[at].shorter
                node, shorter = self.nodes[child], self.nodes[at].children.get(token, 0)
                node.shorter = shorter
                node.earned = max(node.earned, self.nodes[number].earned, self.nodes[shorter].earned)
                waiting.append(child)

    def _row(self, number: int) -> tuple[Tensor, Tensor]:
        """Bonus (V,) of every next token and the node (V,) it leads to."""
        node = self.nodes[number]
        owed = self.bonus * (node.depth - node.earned)
        scores = torch.full((self.vocab_size,), -owed)
        nodes = torch.zeros(self.vocab_size, dtype=torch.long)
        endings = [node.shorter] if number else []
        while endings and endings[-1]:
            endings.append(self.nodes[endings[-1]].shorter)
        for ending in reversed(endings):  # the longest one last
            for token, child in self.nodes[ending].children.items():
                scores[token] = self.bonus * self.nodes[child].depth - owed
                nodes[token] = child
        for token, child in node.children.items():
            scores[token], nodes[token] = self.bonus, child
        return scores, nodes

    def start(self, batch: int, device: torch.device) -> list[Tensor]:
        """State of one empty hypothesis per utterance: its node (B, 1)."""
        return [torch.zeros(batch, 1, dtype=torch.long, device=device)]

    def step(self, tokens: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Bonuses after one more token of each hypothesis. ``tokens`` (B, K) -> (B, K, V), state."""
        nodes = self.next_nodes[state[0].cpu(), tokens.cpu()]
        return self.scores[nodes].to(tokens.device), [nodes.to(tokens.device)]
