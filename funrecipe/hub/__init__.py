"""Where models come from: a path, the cache, or a hub that the user allowed."""

from funrecipe.hub.resolve import models_dir, models_on_disk, open_model, resolve_model

__all__ = ["models_dir", "models_on_disk", "open_model", "resolve_model"]
