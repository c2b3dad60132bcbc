"""A model folder as ModelScope or FunASR serves it, as one typed object; no torch."""

from funrecipe.model_folder.folder import ModelFolder, open_model_folder

__all__ = ["ModelFolder", "open_model_folder"]
