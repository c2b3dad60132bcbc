"""CT-Transformer for export, with the inputs of FunASR's runtime."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from funrecipe.export.graph import GRAPH, Graph
from funrecipe.models.ct_transformer import CTTransformer
from funrecipe.models.layers import length_mask


class ExportedPunctuation(nn.Module):
    """``inputs`` (B, U) word ids, ``text_lengths`` (B,) -> ``logits`` (B, U, marks).

    A real-time model also takes ``vad_masks``, ``sub_masks`` (1, 1, U, U), 1 where a word sees another: in the last
    block, and in the others, where no word sees a later one whatever ``sub_masks`` says (``funasr-onnx`` gives the
    first mask twice).
    """

    def __init__(self, model: CTTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, text_lengths: Tensor, *masks: Tensor) -> tuple[Tensor]:
        if not self.model.realtime:
            return (self.model(inputs.long(), text_lengths.long()),)
        network, encoder = self.model.punc_model, self.model.punc_model.encoder
        words = length_mask(text_lengths, inputs.size(1))
        corner, other = (words[:, None, None] & (mask > 0.5) for mask in masks)
        causal = other & torch.ones_like(other).tril()
        x = encoder.add_positions(network.embed(inputs.long()))
        *blocks, last = (*encoder.encoders0, *encoder.encoders)
        for block in blocks:
            x = block(x, words, causal)
        x = last(x, words, corner if blocks else causal)
        return (network.decoder(encoder.after_norm(x)),)

    def graphs(self, input_size: int) -> dict[str, Graph]:
        """What is written, by file name."""
        words = 12
        axes = {"inputs": {0: "batch", 1: "words"}, "text_lengths": {0: "batch"}, "logits": {0: "batch", 1: "words"}}
        ids, lens = torch.ones(2, words, dtype=torch.int32), torch.tensor([words, words - 4], dtype=torch.int32)
        if not self.model.realtime:
            return {GRAPH: Graph(self, (ids, lens), ("inputs", "text_lengths"), ("logits",), axes)}
        names = ("vad_masks", "sub_masks")
        example = (ids[:1], lens[:1], *[torch.ones(1, 1, words, words) for _ in names])
        axes |= {name: {2: "words", 3: "words"} for name in names}
        return {GRAPH: Graph(self, example, ("inputs", "text_lengths", *names), ("logits",), axes)}
