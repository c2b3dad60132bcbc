"""Text in, punctuated text out: words, network and rules of one model folder, for whole texts and for streams.

A text is taken 20 words at a time, and the network looks at what follows the last sentence that ended before them.
Source: ``funasr.bin.punc_infer`` (0.7.0 and 0.8.8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from funrecipe.checkpoint import load_network
from funrecipe.errors import UsageError
from funrecipe.families import PUNCTUATION
from funrecipe.model_folder import ModelFolder
from funrecipe.models.ct_transformer import CTTransformer
from funrecipe.models.onnx import OnnxModel
from funrecipe.punctuation.render import (
    COMMA,
    DEFAULT_RULES,
    NO_MARK,
    PERIOD,
    SENTENCE_ENDS,
    check_rules,
    end_text,
    mark_names,
    render_piece,
)
from funrecipe.punctuation.words import Splitter, is_latin, split_words, splitter_of

WORDS_AT_ONCE = 20
MAX_OPEN_WORDS = 200  # a longer sentence is ended at its last comma


@dataclass(frozen=True)
class Punctuated:
    """A text with its marks.

    Attributes:
        text: as the rules write it.
        words: the words that the network saw.
        marks: the mark after each word, ``_`` for none; the last one is that of ``text``.
        mark_ids: their numbers in ``punc_list``.
    """

    text: str
    words: list[str]
    marks: list[str]
    mark_ids: list[int]


class OnnxPunctuation:
    """What a ``Punctuator`` calls of a ``CTTransformer``."""

    def __init__(self, path: Path) -> None:
        self.model = OnnxModel(path)
        self.realtime = len(self.model.names) > 2

    def __call__(self, ids: Tensor, lens: Tensor, known: int = 0) -> Tensor:
        """``ids`` (1, U), ``lens`` (1,) -> logits (1, U, marks); ``known`` as in ``CTTransformer``."""
        size = ids.size(1)
        corner = torch.ones(1, 1, size, size)
        if 0 < known < size:
            corner[:, :, : known - 1, known:] = 0
        masks = (corner, torch.ones_like(corner).tril()) if self.realtime else ()
        return self.model(ids, lens, *masks)[0]


class Punctuator:
    """Punctuates. Keeps no state between calls, so threads may share it.

    Args:
        network: the model; word_ids: its vocabulary; marks: its ``punc_list``.
        splitter: what it takes for a word.
        device: where to compute.

    Raises:
        UsageError: the model has no 。 to end a text with.
    """

    def __init__(
        self,
        network: CTTransformer | OnnxPunctuation,
        word_ids: dict[str, int],
        marks: Sequence[str],
        splitter: Splitter = split_words,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network, self.splitter, self.device = network, splitter, torch.device(device)
        self.marks = mark_names(marks)
        self._word_ids, self._unknown = word_ids, word_ids.get("<unk>", len(word_ids) - 1)
        if PERIOD not in self.marks:
            raise UsageError(
                f"punc_list has no {PERIOD}: {' '.join(self.marks)}",
                hint="use the punc_list that the model was trained with",
            )
        self._period = self.marks.index(PERIOD)

    def punctuate(self, text: str, rules: str = DEFAULT_RULES) -> Punctuated:
        """Marks for a whole ``text``, which has none; empty for an empty one.

        Args:
            rules: how the text is written, one of ``RULES``.
        """
        check_rules(rules)
        words = self.splitter(text)
        if not words:
            return Punctuated("", [], [], [])
        pieces = self._pieces(words, 0)
        ids = [mark_id for _, piece_ids in pieces for mark_id in piece_ids]
        written = "".join(render_piece(piece, self._names(piece_ids), rules) for piece, piece_ids in pieces)
        ended = end_text(written, rules)
        if ended != written:
            ids[-1] = self._period
        return Punctuated(ended, words, self._names(ids), ids)

    def mark_words(self, words: Sequence[str]) -> list[int]:
        """The number of the mark after each of ``words``, before the rule for the end of the text."""
        return [mark_id for _, piece_ids in self._pieces(words, 0) for mark_id in piece_ids]

    def feed(self, text: str, cache: Sequence[str]) -> tuple[str, list[str], list[str]]:
        """The next ``text`` of a stream: what it adds, the marks in it, and the cache for the next call.

        The mark after the last word is left open: whether a sentence ends there shows when the next text comes, which
        then begins with that mark.

        Args:
            cache: what the call before returned: the words that follow the last sentence; empty at the start.

        Returns:
            ``(added text, marks, cache)``; marks begin with that of the last word of the cache, if there is one.
        """
        known = len(cache)
        words = self.splitter("".join(cache) + " " + text)
        if len(words) == known:
            return "", [], list(cache)
        pieces = self._pieces(words, known)
        marks = self._names([mark_id for _, piece_ids in pieces for mark_id in piece_ids])
        spaced = [
            " " + word if i and is_latin(word) and words[i - 1][-1].isascii() else word for i, word in enumerate(words)
        ]
        added = [] if not known else [marks[known - 1]]
        for word, mark in zip(spaced[known:], marks[known:]):
            added += [word, mark]
        shown = [part for part in added if part != NO_MARK]
        new_marks = marks[max(known - 1, 0) :]
        if shown[-1] in self.marks:
            shown.pop()
            new_marks[-1] = NO_MARK
        ends = (i for i in range(len(marks) - 2, 1, -1) if marks[i] in SENTENCE_ENDS)
        return "".join(shown), new_marks, spaced[next(ends, -1) + 1 :]

    def _names(self, ids: Sequence[int]) -> list[str]:
        return [self.marks[mark_id] for mark_id in ids]

    def _pieces(self, words: Sequence[str], known: int) -> list[tuple[list[str], list[int]]]:
        """``words`` cut after the ends of sentences, each piece with its marks. Pieces may be empty."""
        pieces: list[tuple[list[str], list[int]]] = []
        start = 0
        for stop in range(WORDS_AT_ONCE, len(words) + WORDS_AT_ONCE, WORDS_AT_ONCE):
            seen = list(words[start:stop])
            ids = self._predict(seen, known)
            if stop < len(words):
                ended = self._end_of_last_sentence(ids)
                seen, ids = seen[:ended], ids[:ended]
            pieces.append((seen, ids))
            start += len(seen)
        return pieces

    def _end_of_last_sentence(self, ids: list[int]) -> int:
        """How many words belong to sentences that have ended; a sentence that is too long is ended at a comma."""
        for i in range(len(ids) - 2, 1, -1):
            if self.marks[ids[i]] in SENTENCE_ENDS:
                return i + 1
        commas = [i for i in range(2, len(ids) - 1) if self.marks[ids[i]] == COMMA]
        if len(ids) > MAX_OPEN_WORDS and commas:
            ids[commas[-1]] = self._period
            return commas[-1] + 1
        return 0

    @torch.inference_mode()
    def _predict(self, words: Sequence[str], known: int) -> list[int]:
        logits = self.network(self.word_ids(words), torch.tensor([len(words)], device=self.device), known)
        return logits[0].argmax(dim=1).tolist()

    def word_ids(self, words: Sequence[str]) -> torch.Tensor:
        """Numbers of ``words`` in the vocabulary, (1, U)."""
        return torch.tensor([[self._word_ids.get(word, self._unknown) for word in words]], device=self.device)


def load_punctuator(
    folder: ModelFolder, *, device: torch.device | str = "cpu", weights: Path | None = None
) -> Punctuator:
    """Everything needed to punctuate with a model folder.

    Raises:
        UsageError: not a punctuation model.
        DataError, UnsafeFileError: files that do not fit or are not safe.
    """
    if folder.row.task != PUNCTUATION:
        raise UsageError(
            f"a model of family '{folder.family}' does not punctuate",
            where=str(folder.path),
            hint="give a punctuation model, such as damo/punc_ct-transformer_zh-cn-common-vocab272727-pytorch",
        )
    weights = weights or folder.weights
    if weights.suffix == ".onnx":
        return make_punctuator(OnnxPunctuation(weights), folder, "cpu")
    return make_punctuator(load_network(folder.config, len(folder.tokens), weights, device), folder, device)


def make_punctuator(
    network: CTTransformer | OnnxPunctuation, folder: ModelFolder, device: torch.device | str
) -> Punctuator:
    """A punctuator of ``network``, with the words and marks of ``folder``."""
    word_ids = {word: i for i, word in enumerate(folder.tokens)}
    return Punctuator(network, word_ids, folder.config["punc_list"], splitter_of(folder), device)
