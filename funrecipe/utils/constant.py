"""``modelscope.utils.constant`` for ported scripts: ``from funrecipe.utils.constant import Tasks``."""

from funrecipe.pipelines import Tasks

__all__ = ["Tasks"]
