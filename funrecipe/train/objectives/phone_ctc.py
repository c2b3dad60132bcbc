"""An auxiliary CTC over Mandarin initials and finals on an inner encoder block, for training with little data.

A few thousand characters are too many classes for an hour of speech: CTC and attention alone stay on a plateau. About
sixty initials and toned finals are learned quickly and shape the lower encoder. The head is not saved in checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from funrecipe.errors import UsageError
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.losses import ctc_loss
from funrecipe.train.objectives.output import LossOutput, utterances_of


def phones_of_characters(characters: Sequence[str]) -> list[str]:
    """Initials and toned finals of a sentence (pypinyin reads words in context); other tokens are kept."""
    try:
        from pypinyin import Style, lazy_pinyin
    except ImportError:
        raise UsageError("phone_ctc_weight needs the package pypinyin", hint="pip install pypinyin") from None
    phones: list[str] = []
    for is_han, group in groupby(characters, key=lambda c: len(c) == 1 and "\u4e00" <= c <= "\u9fff"):
        if not is_han:
            phones += group
            continue
        text = "".join(group)
        initials = lazy_pinyin(text, style=Style.INITIALS)
        finals = lazy_pinyin(text, style=Style.FINALS_TONE3, neutral_tone_with_five=True)
        phones += [phone for pair in zip(initials, finals) for phone in pair if phone]
    return phones


class PhoneTable:
    """The phones of training texts and their ids; 0 is CTC's blank, the last id is for phones not among them."""

    def __init__(self, sentences: Iterable[Sequence[str]]) -> None:
        phones = sorted({p for sentence in sentences for p in phones_of_characters(sentence)})
        self.ids = {phone: i for i, phone in enumerate(phones, 1)}

    @property
    def size(self) -> int:
        return len(self.ids) + 2

    def encode(self, characters: Sequence[str]) -> tuple[int, ...]:
        return tuple(self.ids.get(p, self.size - 1) for p in phones_of_characters(characters))


class PhoneCtc(nn.Module):
    """The head: norm and linear layer on the output of encoder block ``layer``, which a hook picks up.

    Args:
        encoder: has ``encoders``, SANM also ``encoders0``.
        layer: counted from 1; 0: the last but one.
    """

    def __init__(self, encoder: nn.Module, phones: int, layer: int = 0) -> None:
        super().__init__()
        blocks = [*getattr(encoder, "encoders0", ()), *getattr(encoder, "encoders", ())]
        if not blocks:
            raise UsageError("phone_ctc_weight: this encoder has no list of blocks to attach to")
        if not 0 <= layer <= len(blocks):
            raise UsageError(f"phone_ctc_layer {layer}: the encoder has {len(blocks)} blocks")
        size = encoder.output_size
        self.norm, self.output = nn.LayerNorm(size), nn.Linear(size, phones)
        self._hidden: Tensor | None = None
        chosen = blocks[layer - 1] if layer else blocks[max(0, len(blocks) - 2)]
        chosen.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
        self._hidden = output if isinstance(output, Tensor) else output[0]

    def loss(self, batch: Batch, encoder_out_lens: Tensor) -> Tensor:
        """CTC of the phones, per utterance; to be called after the model has encoded ``batch``."""
        hidden, self._hidden = self._hidden, None
        assert hidden is not None and batch.phones is not None and batch.phone_lens is not None
        logits = self.output(self.norm(hidden))
        return ctc_loss(logits, encoder_out_lens, batch.phones, batch.phone_lens, utterances_of(batch))


def add_phone_loss(output: LossOutput, head: PhoneCtc, batch: Batch, weight: float) -> LossOutput:
    """``loss + weight * loss_phone``."""
    encoder_out_lens = output.extras.get("encoder_out_lens", batch.feat_lens)
    loss_phone = head.loss(batch, encoder_out_lens)
    loss = output.loss + weight * loss_phone
    parts = {**output.parts, "loss_phone": loss_phone, "loss": loss}
    return LossOutput(loss, parts, output.weight, output.extras)


def without_auxiliary(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the head, which is not saved with the model."""
    return {
        name: value.detach().clone() if isinstance(value, torch.nn.Parameter) else value
        for name, value in state.items()
        if not name.startswith("phone_ctc.")
    }
