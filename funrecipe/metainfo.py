"""``modelscope.metainfo`` for ported scripts: ``from funrecipe.metainfo import Trainers``."""

from funrecipe.trainers import Trainers

__all__ = ["Trainers"]
