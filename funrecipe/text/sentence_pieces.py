"""The tokenizer of models that spell with a SentencePiece model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from funrecipe.errors import DataError, UsageError
from funrecipe.text.tokenizer import Tokenizer


def load_pieces(path: Path) -> Any:
    """The ``SentencePieceProcessor`` of a model file.

    Raises:
        UsageError: the package is not installed. DataError: not a SentencePiece model.
    """
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise UsageError(
            "the package sentencepiece is not installed",
            where=str(path),
            hint="install it: pip install 'funrecipe[bpe]'",
        ) from None
    try:
        return SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise DataError(f"cannot read the SentencePiece model: {error}", where=str(path)) from None


def read_pieces(path: Path) -> list[str]:
    """The pieces of a SentencePiece model, in the order of their ids."""
    processor = load_pieces(path)
    return [processor.id_to_piece(number) for number in range(processor.vocab_size())]


class SentencePieceTokenizer(Tokenizer):
    """A vocabulary whose texts are cut and joined by a SentencePiece model; the model is read at its first use."""

    def __init__(self, tokens: Sequence[str], model: Path) -> None:
        super().__init__(tokens)
        self.model, self.has_word_pieces = model, True

    @cached_property
    def processor(self) -> Any:
        """Raises DataError unless the model has as many pieces as the vocabulary has tokens."""
        processor = load_pieces(self.model)
        if processor.vocab_size() != len(self.tokens):
            raise DataError(
                f"the SentencePiece model has {processor.vocab_size()} pieces, the vocabulary {len(self.tokens)}",
                where=str(self.model),
                hint="download the whole model again; one of the two files belongs to another model",
            )
        return processor

    def tokenize(self, text: str) -> list[str]:
        """Pieces of a text. May hold pieces that have no id."""
        return self.processor.encode(text, out_type=str)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return self.processor.decode(list(ids))
