"""Where models come from: a path, the cache, or a hub that the user allowed."""

from funrecipe.hub.companions import AUTO, open_companion
from funrecipe.hub.resolve import models_dir, models_on_disk, open_model, resolve_model

__all__ = ["AUTO", "models_dir", "models_on_disk", "open_companion", "open_model", "resolve_model"]
