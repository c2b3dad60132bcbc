"""The Transformer form of the parallel Paraformer decoder (``paraformer_decoder_san``, the AISHELL recipe)."""

from __future__ import annotations

from torch import Tensor

from funrecipe.models.layers import length_mask
from funrecipe.models.transformer import TransformerDecoder


class ParaformerSANDecoder(TransformerDecoder):
    """Transformer decoder without causality, fed with acoustic embeddings (FunASR: ParaformerDecoderSAN).

    State-dict keys of :class:`TransformerDecoder`; ``embed`` is only for the training sampler.
    """

    INERT = TransformerDecoder.INERT | {"embeds_id": ...}  # the layer whose output was compared with BERT's

    def forward(self, encoder_out: Tensor, encoder_out_lens: Tensor, embeds: Tensor, token_lens: Tensor) -> Tensor:
        """``encoder_out`` (B, T, D), ``embeds`` (B, U, D) and their lengths -> logits (B, U, V)."""
        token_mask = length_mask(token_lens, embeds.size(1))[:, None, :]
        memory_mask = length_mask(encoder_out_lens, encoder_out.size(1))[:, None, :]
        x = embeds
        for layer in self.decoders:
            x = layer(x, token_mask, encoder_out, memory_mask)
        return self.output_layer(x if self.after_norm is None else self.after_norm(x))
