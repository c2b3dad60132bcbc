"""Contextual Paraformer: hotwords, encoded by an LSTM, that the last decoder layer attends to.

Source: ``funasr.models.e2e_asr_paraformer.ContextualParaformer``, ``e2e_asr_contextual_paraformer`` and
``decoder.contextual_decoder`` (0.8.8). The "neat" class has the same weights and arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from funrecipe.models.ctc import CTC
from funrecipe.models.layers import LayerNorm, padding_mask
from funrecipe.models.paraformer import ENCODERS, PREDICTORS, Paraformer, build_ctc
from funrecipe.models.registry import build_component
from funrecipe.models.sanm import CrossAttention, ParaformerSANMDecoder, cross_attention_mask
from funrecipe.models.special_ids import SOS_ID

DEFAULT_INNER_DIM = 256


class BiasDecoder(nn.Module):
    """Attention to the hotwords. Keys ``src_attn``, ``norm3``."""

    def __init__(self, heads: int, size: int, attention_dropout_rate: float, dropout_rate: float) -> None:
        super().__init__()
        self.src_attn = CrossAttention(heads, size, attention_dropout_rate)
        self.norm3 = LayerNorm(size)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """``x`` (B, U, D), ``context`` (B, N, D) -> (B, U, D)."""
        return self.dropout(self.src_attn(self.norm3(x), context))


class ContextualParaformerDecoder(ParaformerSANMDecoder):
    """SANM decoder whose last layer with attention, ``last_decoder``, also attends to hotwords.

    Keys beside the plain decoder's: ``last_decoder`` (in place of the last of ``decoders``), ``bias_decoder``,
    ``bias_output.weight (D, 2 D, 1)``.
    """

    def __init__(
        self,
        vocab_size: int,
        encoder_output_size: int,
        attention_heads: int = 4,
        dropout_rate: float = 0.1,
        src_attention_dropout_rate: float = 0.0,
        **conf: Any,
    ) -> None:
        super().__init__(
            vocab_size,
            encoder_output_size,
            attention_heads=attention_heads,
            dropout_rate=dropout_rate,
            src_attention_dropout_rate=src_attention_dropout_rate,
            **conf,
        )
        size = encoder_output_size
        self.last_decoder = self.decoders[-1]
        self.decoders = self.decoders[:-1]
        self.bias_decoder = BiasDecoder(attention_heads, size, src_attention_dropout_rate, dropout_rate)
        self.bias_output = nn.Conv1d(2 * size, size, 1, bias=False)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(  # type: ignore[override]
        self,
        encoder_out: Tensor,
        encoder_out_lens: Tensor,
        embeds: Tensor,
        token_lens: Tensor,
        context: Tensor,
        context_scale: float = 1.0,
    ) -> Tensor:
        """Logits (B, U, V); ``context`` (N, D) holds one vector per hotword, ``context_scale`` weighs them all."""
        token_mask = padding_mask(token_lens, embeds.size(1))
        attention_mask = cross_attention_mask(encoder_out, encoder_out_lens)
        x = embeds
        for layer in self.decoders:
            x = layer(x, token_mask, encoder_out, attention_mask)
        x = self.last_decoder.remember(x, token_mask)
        heard = self.last_decoder.src_attn(self.last_decoder.norm3(x), encoder_out, attention_mask)
        biased = self.bias_decoder(x, context.expand(x.size(0), -1, -1)) * context_scale
        mixed = F.linear(torch.cat([heard, biased], dim=2), self.bias_output.weight.squeeze(2))  # kernel size 1
        return self.output_layer(self.last_layers(x + self.dropout(mixed), token_mask, encoder_out))


def last_states(lstm: nn.LSTM, embed: nn.Module, hotwords: Sequence[Sequence[int]]) -> Tensor:
    """The last state (N + 1, D) of ``lstm`` after each word, and after ``<s>``, which stands for none of them."""
    ids = [torch.tensor(list(word), device=lstm.weight_hh_l0.device) for word in [*hotwords, [SOS_ID]]]
    lens = torch.tensor([len(word) for word in ids])
    embedded = embed(pad_sequence(ids, batch_first=True))
    return lstm(pack_padded_sequence(embedded, lens, batch_first=True, enforce_sorted=False))[1][0][-1]


class ContextualParaformer(Paraformer):
    """Paraformer with an encoder of hotwords. Keys ``bias_embed.weight``, ``bias_encoder.*`` (LSTM)."""

    decoder: ContextualParaformerDecoder

    def __init__(
        self,
        encoder: nn.Module,
        predictor: nn.Module,
        decoder: nn.Module,
        ctc: CTC | None,
        *,
        vocab_size: int,
        inner_dim: int,
        use_decoder_embedding: bool = False,
    ) -> None:
        super().__init__(encoder, predictor, decoder, ctc)
        self.bias_encoder = nn.LSTM(inner_dim, inner_dim, batch_first=True)
        self.bias_embed = nn.Embedding(vocab_size, inner_dim)
        self.use_decoder_embedding = use_decoder_embedding

    def encode_hotwords(self, hotwords: Sequence[Sequence[int]]) -> Tensor:
        """Context vectors (N + 1, D) of hotwords (token ids, none empty); the last one stands for "none"."""
        embed = self.decoder.embed if self.use_decoder_embedding else self.bias_embed
        return last_states(self.bias_encoder, embed, hotwords)

    def decode(  # type: ignore[override]
        self,
        encoder_out: Tensor,
        encoder_out_lens: Tensor,
        embeds: Tensor,
        token_lens: Tensor,
        context: Tensor | None = None,
        context_scale: float = 1.0,
    ) -> Tensor:
        """Log-probabilities (B, U, V); ``context`` from :meth:`encode_hotwords`, None: no hotwords."""
        context = self.encode_hotwords([]) if context is None else context
        logits = self.decoder(encoder_out, encoder_out_lens, embeds, token_lens, context, context_scale)
        return logits.float().log_softmax(dim=-1)


def build_contextual_paraformer(config: Mapping[str, Any], input_size: int, vocab_size: int) -> ContextualParaformer:
    """Both contextual classes (``contextual_paraformer``, ``neatcontextual_paraformer``)."""
    model_conf = config.get("model_conf") or {}
    if model_conf.get("bias_encoder_type", "lstm") != "lstm":
        raise ValueError(f"model_conf: bias_encoder_type '{model_conf['bias_encoder_type']}' is not supported (lstm)")
    encoder = build_component(config, "encoder", ENCODERS, input_size=input_size)
    size = encoder.output_size
    decoders = {"contextual_paraformer_decoder": ContextualParaformerDecoder}
    return ContextualParaformer(
        encoder,
        build_component(config, "predictor", PREDICTORS),
        build_component(config, "decoder", decoders, vocab_size=vocab_size, encoder_output_size=size),
        build_ctc(config, vocab_size, size),
        vocab_size=vocab_size,
        inner_dim=int(model_conf.get("inner_dim", DEFAULT_INNER_DIM)),
        use_decoder_embedding=bool(model_conf.get("use_decoder_embedding", False)),
    )
