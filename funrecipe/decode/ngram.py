"""N-gram language models in ARPA format, as a scorer of a beam search.

A reader of our own: kenlm has to be compiled, and no reader on PyPI that installs without a compiler is maintained.
It is meant for the models one fuses into a search (some million n-grams); words are the recognizer's tokens.
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from funrecipe.errors import DataError

SOS_ID, EOS_ID = 1, 2
UNKNOWN_WORDS = ("<unk>", "<UNK>")
# log10 probability of a token that neither the model nor its <unk> knows, as SRILM writes "never"
NEVER = -99.0
SECTION = re.compile(r"\\(\d+)-grams:$")


class NgramModel:
    """Back-off n-grams (Katz 1987) over token ids, with the ``start`` and ``step`` of the other language models.

    Args:
        order: longest n-gram.
        followers: context ids -> (token ids, natural log-probabilities) of the n-grams that begin so.
        backoffs: context ids -> natural log of the back-off weight.
        vocab_size: length of a row of scores.
        unknown: natural log-probability of tokens without a unigram.
    """

    def __init__(
        self, order: int, followers: dict[tuple[int, ...], tuple[list[int], list[float]]],
        backoffs: dict[tuple[int, ...], float], vocab_size: int, unknown: float,
    ) -> None:
        self.order, self.vocab_size, self.backoffs = order, vocab_size, backoffs
        self.followers = {
            context: (torch.tensor(ids), torch.tensor(log_probs)) for context, (ids, log_probs) in followers.items()
        }
        self.rows: dict[tuple[int, ...], Tensor] = {}
        self.unknown = torch.full((vocab_size,), unknown)

    def row(self, context: tuple[int, ...]) -> Tensor:
        """Log-probability (V,) of every next token after ``context`` (its last ``order - 1`` ids count)."""
        context = context[len(context) - self.order + 1 :] if len(context) >= self.order else context
        known = self.rows.get(context)
        if known is None:
            shorter = self.row(context[1:]) + self.backoffs.get(context, 0.0) if context else self.unknown
            known = shorter.clone()
            if context in self.followers:
                ids, log_probs = self.followers[context]
                known[ids] = log_probs
            if len(context) < 2:  # longer contexts are too many to keep
                self.rows[context] = known
        return known

    def score(self, ids: Sequence[int]) -> float:
        """Natural log-probability of a sentence with its end."""
        sentence = (SOS_ID, *ids, EOS_ID)
        return sum(float(self.row(sentence[:i])[sentence[i]]) for i in range(1, len(sentence)))

    def start(self, batch: int, device: torch.device) -> list[Tensor]:
        """State of one empty hypothesis an utterance: its last ids (B, 1, 0)."""
        return [torch.zeros(batch, 1, 0, dtype=torch.long, device=device)]

    def step(self, tokens: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Log-probabilities after one more token of each hypothesis. tokens: (B, K) -> (B, K, V), state."""
        last = torch.cat([state[0], tokens.unsqueeze(2)], dim=2)
        last = last[:, :, max(0, last.size(2) - self.order + 1) :]
        rows = [self.row(tuple(context)) for context in last.flatten(0, 1).tolist()]
        return torch.stack(rows).view(*tokens.shape, -1).to(tokens.device), [last]


def read_arpa(path: Path, tokens: Sequence[str]) -> NgramModel:
    """Read an ARPA file (``.gz`` too) over the vocabulary ``tokens``; n-grams with other words are left out.

    Raises:
        DataError: not ARPA, with file and line, or no word of the vocabulary in it.
    """
    ids = {token: number for number, token in enumerate(tokens)} | {"<s>": SOS_ID, "</s>": EOS_ID}
    followers: dict[tuple[int, ...], tuple[list[int], list[float]]] = {}
    backoffs: dict[tuple[int, ...], float] = {}
    order, unknown = 0, NEVER
    for order, words, log10, backoff in ngrams_of(path):
        if order == 1 and words[0] in UNKNOWN_WORDS:
            unknown = log10
        if not all(word in ids for word in words):
            continue
        *context, last = (ids[word] for word in words)
        row = followers.setdefault(tuple(context), ([], []))
        row[0].append(last)
        row[1].append(log10 * math.log(10))
        if backoff:
            backoffs[(*context, last)] = backoff * math.log(10)
    if () not in followers:
        raise DataError("no n-gram of this model's tokens", where=str(path),
                        hint="its words must be the tokens of the recognizer (characters, pieces)")
    return NgramModel(order, followers, backoffs, len(tokens), unknown * math.log(10))


def ngrams_of(path: Path) -> Iterator[tuple[int, list[str], float, float]]:
    """(order, words, log10 probability, log10 back-off weight or 0) of every line, in the order of the file."""
    opener = gzip.open if path.suffix == ".gz" else open
    order = 0
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.strip()
            if found := SECTION.match(line):
                order = int(found[1])
            elif line == "\\end\\":
                return
            elif order and line:
                fields = line.split()
                try:
                    log10, words, rest = float(fields[0]), fields[1 : order + 1], fields[order + 1 :]
                    backoff = float(rest[0]) if rest else 0.0
                except ValueError:
                    words = []
                if len(words) != order or len(rest) > 1:
                    raise DataError(f"not a {order}-gram: {line!r}", where=f"{path}:{number}")
                yield order, words, log10, backoff
    raise DataError("no \\end\\: not an ARPA file, or a piece of one", where=str(path))
