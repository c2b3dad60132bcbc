"""N-gram language models in ARPA format, as a scorer of a beam search.

A separate reader, because kenlm has to be compiled and no maintained reader on PyPI installs without a compiler.
It is meant for models fused into a search (a few million n-grams); words are the recognizer's tokens.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from funrecipe.cache import cached_arrays
from funrecipe.errors import DataError
from funrecipe.files import sha256_of
from funrecipe.identity import value_digest
from funrecipe.models.special_ids import EOS_ID, SOS_ID

UNKNOWN_WORDS = ("<unk>", "<UNK>")
# log10 probability of a token that neither the model nor its <unk> covers, as SRILM writes "never"
NEVER = -99.0
ROWS_BYTES = 16 * 2**20  # of scores after the latest contexts
FORMAT = "ngram 1"  # part of the cache key: rename it when the form of the arrays changes


class Contexts(NamedTuple):
    """The contexts of one length, as nodes of a trie (C of them), and the n-grams (G) that begin with them.

    Attributes:
        keys: (C,) sorted, number of the context without its last token times the vocabulary, plus its last token.
        backoffs: (C,) natural log of the back-off weight.
        first: (C + 1,) where the n-grams of each context begin.
        followers, log_probs: (G,), their last tokens and natural log-probabilities.
    """

    keys: np.ndarray
    backoffs: np.ndarray
    first: np.ndarray
    followers: Tensor
    log_probs: Tensor


class NgramModel:
    """Back-off n-grams (Katz 1987) over token ids, with the ``start`` and ``step`` of the other language models.

    Args:
        contexts: by length, from the empty one on.
        vocab_size: length of a row of scores.
        unknown: natural log-probability of tokens without a unigram.
    """

    def __init__(self, contexts: list[Contexts], vocab_size: int, unknown: float) -> None:
        self.contexts, self.order, self.vocab_size = contexts, len(contexts), vocab_size
        self.rows: dict[tuple[int, ...], Tensor] = {}  # of the latest contexts, up to half of ROWS_BYTES,
        self.earlier_rows: dict[tuple[int, ...], Tensor] = {}  # and of those before them
        self.unknown = torch.full((vocab_size,), unknown)

    def node(self, context: Sequence[int]) -> int | None:
        """The number of ``context`` among those of its length; None: the model does not have it."""
        node = 0
        for level, token in zip(self.contexts[1:], context, strict=False):
            key = node * self.vocab_size + token
            node = int(level.keys.searchsorted(key))
            if node == len(level.keys) or level.keys[node] != key:
                return None
        return node

    def row(self, context: tuple[int, ...]) -> Tensor:
        """Log-probability (V,) of every next token after ``context`` (its last ``order - 1`` ids count)."""
        context = context[len(context) - self.order + 1 :] if len(context) >= self.order else context
        known = self.rows.get(context)
        if known is not None:
            return known
        known = self.earlier_rows.get(context)
        if known is None:
            known = self.row(context[1:]) if context else self.unknown
            node = self.node(context)
            if node is not None:
                level = self.contexts[len(context)]
                known = known + float(level.backoffs[node])
                place = slice(level.first[node], level.first[node + 1])
                known[level.followers[place]] = level.log_probs[place]
        if len(self.rows) * self.vocab_size * 8 >= ROWS_BYTES:
            self.rows, self.earlier_rows = {}, self.rows
        self.rows[context] = known
        return known

    def score(self, ids: Sequence[int]) -> float:
        """Natural log-probability of a sentence with its end."""
        sentence = (SOS_ID, *ids, EOS_ID)
        return sum(float(self.row(sentence[:i])[sentence[i]]) for i in range(1, len(sentence)))

    def start(self, batch: int, device: torch.device) -> list[Tensor]:
        """State of one empty hypothesis per utterance: its last ids (B, 1, 0)."""
        return [torch.zeros(batch, 1, 0, dtype=torch.long, device=device)]

    def step(self, tokens: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Log-probabilities after one more token of each hypothesis. ``tokens`` (B, K) -> (B, K, V), state."""
        last = torch.cat([state[0], tokens.unsqueeze(2)], dim=2)
        last = last[:, :, max(0, last.size(2) - self.order + 1) :]
        rows = [self.row(tuple(context)) for context in last.flatten(0, 1).tolist()]
        return torch.stack(rows).view(*tokens.shape, -1).to(tokens.device), [last]


def load_arpa(path: Path, tokens: Sequence[str]) -> NgramModel:
    """Like :func:`read_arpa`; parsed models are kept in the cache folder and read from there."""

    def parse() -> dict[str, np.ndarray]:
        return _arrays_of(read_arpa(path, tokens))

    try:
        key = value_digest([FORMAT, sha256_of(path), *tokens])
    except OSError:
        return read_arpa(path, tokens)  # raises the error
    return _model_of(cached_arrays("ngram", key, parse), len(tokens))


def _arrays_of(model: NgramModel) -> dict[str, np.ndarray]:
    """The arrays that :func:`_model_of` makes a model from."""
    arrays = {"unknown": model.unknown[:1].numpy()}
    for length, level in enumerate(model.contexts):
        arrays |= {f"{length}.{name}": np.asarray(part) for name, part in level._asdict().items()}
    return arrays


def _model_of(arrays: dict[str, np.ndarray], vocab_size: int) -> NgramModel:
    contexts: list[Any] = []
    while f"{len(contexts)}.keys" in arrays:
        keys, backoffs, first, followers, log_probs = (arrays[f"{len(contexts)}.{name}"] for name in Contexts._fields)
        contexts.append(Contexts(keys, backoffs, first, torch.from_numpy(followers), torch.from_numpy(log_probs)))
    return NgramModel(contexts, vocab_size, float(arrays["unknown"][0]))


def read_arpa(path: Path, tokens: Sequence[str]) -> NgramModel:
    """Read an ARPA file (``.gz`` too) over the vocabulary ``tokens``; n-grams with other words are left out.

    Raises:
        DataError: not ARPA, with file and line, or no word of the vocabulary in it.
    """
    ids = {token: number for number, token in enumerate(tokens)} | {"<s>": SOS_ID, "</s>": EOS_ID}
    found: list[tuple[list[int], list[float], list[float]]] = []
    unknown = NEVER
    for order, words, log10, backoff in ngrams_of(path):
        if order == 1 and words[0] in UNKNOWN_WORDS:
            unknown = log10
        numbers = [ids.get(word, -1) for word in words]
        if -1 not in numbers:
            while len(found) < order:
                found.append(([], [], []))
            grams, log_probs, backoffs = found[order - 1]
            grams += numbers
            log_probs.append(log10)
            backoffs.append(backoff)
    if not found or not found[0][0]:
        raise DataError(
            "no n-gram has only tokens of this model",
            where=str(path),
            hint="train it on the tokens of the recognizer (characters, pieces)",
        )
    tables = [
        (
            np.array(grams, np.int64).reshape(-1, order),
            math.log(10) * np.array(log_probs, np.float32),
            math.log(10) * np.array(backoffs, np.float32),
        )
        for order, (grams, log_probs, backoffs) in enumerate(found, 1)
    ]
    return NgramModel(contexts_of(tables, len(tokens)), len(tokens), unknown * math.log(10))


def contexts_of(tables: list[tuple[np.ndarray, np.ndarray, np.ndarray]], vocab_size: int) -> list[Contexts]:
    """The trie of ``tables``: by order n, n-grams (G, n), log-probabilities (G,) and back-off weights (G,)."""
    contexts = []
    nodes = [np.zeros(len(grams), np.int64) for grams, _, _ in tables]  # where each n-gram's first tokens are
    keys, backoffs = np.zeros(1, np.int64), np.zeros(1, np.float32)
    for n, (grams, log_probs, weights) in enumerate(tables):
        own = nodes[n] * vocab_size + grams[:, n]
        sorting = own.argsort(kind="stable")
        first = own[sorting].searchsorted(np.arange(len(keys) + 1) * vocab_size)
        followers, sorted_probs = torch.from_numpy(grams[sorting, n]), torch.from_numpy(log_probs[sorting])
        contexts.append(Contexts(keys, backoffs, first, followers, sorted_probs))
        longer = [nodes[m] * vocab_size + tables[m][0][:, n] for m in range(n + 1, len(tables))]
        weighted = weights != 0
        keys = np.unique(np.concatenate([own[weighted], *longer]))
        backoffs = np.zeros(len(keys), np.float32)
        backoffs[keys.searchsorted(own[weighted])] = weights[weighted]
        nodes[n + 1 :] = [keys.searchsorted(key) for key in longer]
    return contexts


def ngrams_of(path: Path) -> Iterator[tuple[int, list[str], float, float]]:
    """(order, words, log10 probability, log10 back-off weight or 0) of every line, in the order of the file.

    Raises:
        DataError: not ARPA, not UTF-8, or a damaged ``.gz``.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as lines:
            yield from _ngrams_in(lines, path)
    except UnicodeDecodeError:
        raise DataError("the language model is not UTF-8", where=str(path), hint="convert it with iconv") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"not a whole gzip file: {error}", where=str(path), hint="copy it again") from None


def _ngrams_in(lines: Iterable[str], path: Path) -> Iterator[tuple[int, list[str], float, float]]:
    order = 0
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if len(fields) == 1 and fields[0].startswith("\\"):
            name = fields[0]
            if name == "\\end\\":
                return
            if name.endswith("-grams:") and name[1:-7].isdecimal():
                order = int(name[1:-7])
                continue
        if not order or not fields:
            continue
        try:
            log10, words = float(fields[0]), fields[1 : order + 1]
            backoff = float(fields[order + 1]) if len(fields) > order + 1 else 0.0
        except ValueError:
            words = []
        if len(words) != order or len(fields) > order + 2:
            raise DataError(f"not a {order}-gram: {line.strip()!r}", where=f"{path}:{number}")
        yield order, words, log10, backoff
    raise DataError("no \\end\\: not an ARPA file, or a truncated one", where=str(path))
