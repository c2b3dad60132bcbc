"""``modelscope.msdatasets.audio.asr_dataset`` for ported scripts."""

from funrecipe.trainers import ASRDataset

__all__ = ["ASRDataset"]
