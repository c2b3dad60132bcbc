"""The one table of searches: model family -> class ``(model, folder, options)``.

A search has ``honours``, the names of the options it uses, and ``decode(feats, feat_lens)``, which gives for every
utterance of a batch its n-best hypotheses, best first. It keeps no state between calls.
"""

from __future__ import annotations

import importlib
from typing import ClassVar, Protocol

from torch import Tensor, nn

from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.options import DecodeOptions
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder


class Search(Protocol):
    honours: ClassVar[frozenset[str]]

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None: ...

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """``feats (B, T, F)``, ``feat_lens (B,)``, every length >= 1 -> n-best per utterance."""
        ...


# family -> "module:class" under funrecipe.decode
SEARCHES = {
    "asr": "ctc_attention:CTCAttentionSearch",
    "rnnt": "transducer:TransducerRecognition",
    "rnnt_unified": "transducer:TransducerRecognition",
    "paraformer": "paraformer:ParaformerSearch",
    "paraformer_bert": "paraformer:ParaformerSearch",
    "paraformer_online": "paraformer_online:ChunkedParaformerSearch",
    "uniasr": "uniasr:UniASRSearch",
    "sense_voice": "sense_voice:SenseVoiceSearch",
    "bicif_paraformer": "paraformer:BiCifParaformerSearch",
    "contextual_paraformer": "paraformer:ContextualParaformerSearch",
    "neatcontextual_paraformer": "paraformer:ContextualParaformerSearch",
}


def make_search(model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> Search:
    """The search of ``folder.family``.

    Raises:
        UsageError: the family has no search, or an option was set that its search ignores.
    """
    if folder.family not in SEARCHES:
        raise UsageError(
            f"models of family '{folder.family}' cannot be decoded",
            where=str(folder.path),
            hint=f"families that can: {', '.join(sorted(SEARCHES))}",
        )
    module, _, name = SEARCHES[folder.family].partition(":")
    search: type[Search] = getattr(importlib.import_module(f"funrecipe.decode.{module}"), name)
    options.check_honoured(search.honours, f"a model of family '{folder.family}'")
    return search(model, folder, options)
