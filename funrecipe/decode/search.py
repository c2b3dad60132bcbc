"""The interface of searches over whole utterances, and the search of a model folder."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.options import DecodeOptions, check_options
from funrecipe.errors import UsageError
from funrecipe.families import find_family, load_part, not_a_recognizer
from funrecipe.model_folder import ModelFolder


class Search(Protocol):
    """One family's search: n-best hypotheses, best first, for every utterance of a batch. It is stateless."""

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None: ...

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """``feats`` (B, T, F), ``feat_lens`` (B,), every length >= 1 -> n-best per utterance."""
        ...


def make_search(model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> Search:
    """The search of ``folder.family``.

    Raises:
        UsageError: the family has no search, or an option is set that its search does not use.
    """
    family = find_family(folder.family)
    if family.search is None:
        raise not_a_recognizer(folder.family, str(folder.path))
    check_options(options, folder)
    if folder.is_exported and family.export_search is None:
        raise UsageError(f"exported models of family '{folder.family}' cannot be decoded", where=str(folder.path))
    search: type[Search] = load_part(family.export_search if folder.is_exported else family.search, "decode")
    return search(model, folder, options)
