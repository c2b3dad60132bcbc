"""The façade with ModelScope's names, translated at once to the objects of this package."""

from funrecipe.pipelines.tasks import Tasks, pipeline

__all__ = ["Tasks", "pipeline"]
