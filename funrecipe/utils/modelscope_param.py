"""``funasr.utils.modelscope_param`` for ported scripts."""

from funrecipe.trainers import modelscope_args

__all__ = ["modelscope_args"]
