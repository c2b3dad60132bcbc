"""What a beam search fuses with the acoustic scores: the language models of a folder, n-grams, hotwords."""

from __future__ import annotations

import torch

from funrecipe.checkpoint import load_weights
from funrecipe.decode.hotword_bias import HotwordBias
from funrecipe.decode.hotwords import read_hotwords, spell_hotwords
from funrecipe.decode.ngram import NgramModel, load_arpa
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.scorers import LMScorer
from funrecipe.errors import UsageError
from funrecipe.families import TEXTS
from funrecipe.model_folder.folder import NGRAM_FILES, ModelFolder, read_config
from funrecipe.models.lm import LanguageModel, build_language_model
from funrecipe.models.uninitialized import Uninitialized


def load_fusion(folder: ModelFolder, options: DecodeOptions, *, device: torch.device) -> list[LMScorer]:
    """The scorers that ``lm_weight``, ``ngram_weight`` and ``hotword`` ask for.

    Raises:
        UsageError: the folder lacks what an option needs, or no hotword can be spelled.
        DataError, UnsafeFileError: files that do not fit or are not safe.
    """
    scorers = []
    if options.lm_weight:
        lm = load_language_model(folder, device=device)
        scorers.append(LMScorer(lm.lm, options.lm_weight, device))
    if options.ngram_weight:
        scorers.append(LMScorer(load_ngram(folder), options.ngram_weight, device, "ngram"))
    words = read_hotwords(options.hotword, allow_network=options.allow_network)
    spelled = spell_hotwords(words, folder.tokenizer) if words else []
    if words and not spelled:
        raise UsageError("the vocabulary cannot spell any of the hotwords", where="hotword")
    if spelled:
        scorers.append(LMScorer(HotwordBias(spelled, len(folder.tokens)), 1.0, device, "hotword"))
    return scorers


def load_ngram(folder: ModelFolder) -> NgramModel:
    """The ARPA file of ``folder``.

    Raises:
        UsageError: there is none.
        DataError: it is not ARPA, or of another vocabulary.
    """
    if folder.ngram is None:
        raise UsageError(
            "ngram_weight is set, but the model folder has no n-gram model",
            where=str(folder.path),
            hint=f"add one named {' or '.join(NGRAM_FILES)}, or leave out ngram_weight",
        )
    return load_arpa(folder.ngram, folder.tokens)


def load_language_model(folder: ModelFolder, *, device: torch.device | str = "cpu") -> LanguageModel:
    """The language model that ``folder`` is, or its ``lm.yaml`` and ``lm.pb``, ready for inference.

    Raises:
        UsageError: the folder has no language model, or one of an unknown kind.
        DataError, UnsafeFileError: weights that do not fit (another vocabulary, say) or are not safe.
    """
    if folder.row.trained_on == TEXTS:
        config, weights, where = folder.config, folder.weights, folder.path
    elif folder.lm_config is not None and folder.lm_weights is not None:
        config, weights, where = read_config(folder.lm_config)[0], folder.lm_weights, folder.lm_config
    else:
        raise UsageError(
            "the model folder has no language model",
            where=str(folder.path),
            hint="add lm.yaml and lm.pb to it, or leave out lm_weight (in funrecipe perplexity: name n-grams, --arpa)",
        )
    try:
        with Uninitialized():
            model = build_language_model(config, 0, len(folder.tokens))
    except ValueError as error:
        raise UsageError(str(error), where=str(where)) from None
    load_weights(model, weights, assign=True)
    return model.eval().requires_grad_(False).to(device)
