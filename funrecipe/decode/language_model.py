"""The language model of a model folder, for fusion in a beam search."""

from __future__ import annotations

import torch

from funrecipe.checkpoint import load_weights
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder, read_config
from funrecipe.models.lm import LanguageModel, build_language_model


def load_language_model(folder: ModelFolder, *, device: torch.device | str = "cpu") -> LanguageModel:
    """Load ``lm.yaml`` and ``lm.pb`` of ``folder``, ready for inference.

    Raises:
        UsageError: the folder has no language model, or one of an unknown kind.
        DataError, UnsafeFileError: weights that do not fit (another vocabulary, say) or are not safe.
    """
    if folder.lm_config is None or folder.lm_weights is None:
        raise UsageError(
            "a language model weight was given, but the model folder has no language model",
            where=str(folder.path),
            hint="put lm.yaml and lm.pb there, or leave lm_weight out",
        )
    config, _ = read_config(folder.lm_config)
    try:
        model = build_language_model(config, len(folder.tokens))
    except ValueError as error:
        raise UsageError(str(error), where=str(folder.lm_config)) from None
    load_weights(model, folder.lm_weights)
    return model.eval().requires_grad_(False).to(device)
