"""SeACo-Paraformer: hotwords through a separate decoder, whose choice replaces the recognizer's token by token.

Source: Shi et al. 2023, "SeACo-Paraformer: A Non-Autoregressive ASR System with Flexible and Effective Hotword
Customization Ability"; ``funasr.models.seaco_paraformer.model.SeacoParaformer`` (1.4.16).

FunASR keeps the 50 best hotwords of the first utterance of a batch for the whole batch; here every utterance has its
own, so that a batch gives what each utterance gives alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from funrecipe.models.bicif_paraformer import PREDICTORS
from funrecipe.models.contextual_paraformer import DEFAULT_INNER_DIM, last_states
from funrecipe.models.ctc import CTC
from funrecipe.models.layers import length_mask
from funrecipe.models.paraformer import ENCODERS, Paraformer, build_ctc
from funrecipe.models.registry import build_component
from funrecipe.models.sanm import ParaformerSANMDecoder

MAX_HOTWORDS = 50  # entries, "none" included, that the hotword decoder attends to at once
DEFAULT_NO_BIAS_ID = 8377


class SeacoDecoder(ParaformerSANMDecoder):
    """The decoder over hotword vectors: hidden states only."""

    INERT = ParaformerSANMDecoder.INERT | {"use_output_layer": False, "wo_input_layer": True}

    def attention_to(self, hidden: Tensor, token_lens: Tensor, context: Tensor) -> Tensor:
        """How much each utterance's tokens attend to each hotword in the last layer with attention.

        ``hidden`` (B, U, D), ``token_lens`` (B,), ``context`` (N, D) or (B, N, D) -> (B, N), summed over heads and
        tokens.
        """
        token_mask = length_mask(token_lens, hidden.size(1))
        words = context if context.dim() == 3 else context.expand(len(hidden), -1, -1)
        x = hidden
        *first, last = self.decoders
        for layer in first:
            x = layer(x, token_mask, words, None)
        attention = last.src_attn
        query = attention.linear_q(last.norm3(last.remember(x, token_mask)))
        key, _ = attention.linear_k_v(words).chunk(2, dim=-1)
        query, key = (x.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for x in (query, key))
        weights = (query @ key.transpose(2, 3) / query.size(-1) ** 0.5).softmax(dim=-1)
        return (weights * token_mask[:, None, :, None]).sum(dim=(1, 2))


class SeacoParaformer(Paraformer):
    """BiCif Paraformer with a hotword branch. Keys ``bias_encoder.*``, ``seaco_decoder.*``, ``hotword_output_layer.*``.

    Attributes:
        no_bias_id: the token by which the hotword branch abstains.
    """

    decoder: ParaformerSANMDecoder

    def __init__(
        self,
        encoder: nn.Module,
        predictor: nn.Module,
        decoder: nn.Module,
        ctc: CTC | None,
        seaco_decoder: SeacoDecoder,
        *,
        vocab_size: int,
        inner_dim: int,
        no_bias_id: int,
        bias_encoder_dropout_rate: float = 0.0,
    ) -> None:
        super().__init__(encoder, predictor, decoder, ctc)
        self.bias_encoder = nn.LSTM(inner_dim, inner_dim, 2, batch_first=True, dropout=bias_encoder_dropout_rate)
        self.seaco_decoder = seaco_decoder
        self.hotword_output_layer = nn.Linear(inner_dim, vocab_size)
        self.no_bias_id = no_bias_id

    def encode_hotwords(self, hotwords: Sequence[Sequence[int]]) -> Tensor:
        """Vectors (N + 1, D) of hotwords (token ids, none empty); the last one stands for "none"."""
        return last_states(self.bias_encoder, self.decoder.embed, hotwords)

    def choose_hotwords(self, hidden: Tensor, token_lens: Tensor, context: Tensor) -> Tensor:
        """The vectors that each utterance attends to, (B, M, D): all, or the best 50 of many and "none".

        Args:
            hidden: (B, U, D) of the decoder; ``token_lens`` (B,); ``context`` (N + 1, D) of all hotwords and "none".
        """
        if len(context) <= MAX_HOTWORDS:
            return context.expand(len(hidden), -1, -1)
        scores = self.seaco_decoder.attention_to(hidden, token_lens, context)
        best = scores.topk(MAX_HOTWORDS, dim=1).indices
        return torch.cat([context[best], context[-1].expand(len(hidden), 1, -1)], dim=1)

    def bias_logits(
        self, embeds: Tensor, hidden: Tensor, token_lens: Tensor, context: Tensor, context_lens: Tensor | None = None
    ) -> Tensor:
        """Logits (B, U, V) of the hotword branch; ``embeds``, ``hidden`` (B, U, D), ``context`` (B, M, D).

        ``context_lens`` (B,): how many of the M count; None: all.
        """
        by_sound = self.seaco_decoder.hidden(context, context_lens, embeds, token_lens)
        by_text = self.seaco_decoder.hidden(context, context_lens, hidden, token_lens)
        return self.hotword_output_layer(by_sound + by_text)

    def decode(  # type: ignore[override]
        self,
        encoder_out: Tensor,
        encoder_out_lens: Tensor,
        embeds: Tensor,
        token_lens: Tensor,
        context: Tensor | None = None,
    ) -> Tensor:
        """Log-probabilities (B, U, V); ``context`` from :meth:`encode_hotwords`, None: no hotwords.

        Where the hotword branch chooses a token, its distribution replaces the recognizer's.
        """
        hidden = self.decoder.hidden(encoder_out, encoder_out_lens, embeds, token_lens)
        log_probs = self.decoder.output_layer(hidden).float().log_softmax(dim=-1)
        if context is None or hidden.size(1) == 0:
            return log_probs
        chosen = self.choose_hotwords(hidden, token_lens, context)
        biased = self.bias_logits(embeds, hidden, token_lens, chosen).float().log_softmax(dim=-1)
        has_none = biased.argmax(dim=-1, keepdim=True) == self.no_bias_id
        return torch.where(has_none, log_probs, biased)


def build_seaco_paraformer(config: Mapping[str, Any], input_size: int, vocab_size: int) -> SeacoParaformer:
    """SeACo-Paraformer of ``config``."""
    conf = config.get("model_conf") or {}
    for key, supported in (("bias_encoder_type", "lstm"), ("bias_encoder_bid", False)):
        if conf.get(key, supported) != supported:
            raise ValueError(f"model_conf: {key} {conf[key]!r} is not supported, only {supported!r}")
    encoder = build_component(config, "encoder", ENCODERS, input_size=input_size)
    size = encoder.output_size
    decoders = {"paraformer_decoder_sanm": ParaformerSANMDecoder}
    seaco_decoders = {"paraformer_decoder_sanm": SeacoDecoder}
    inner_dim = int(conf.get("inner_dim", DEFAULT_INNER_DIM))
    no_bias_id = int(conf.get("NO_BIAS", DEFAULT_NO_BIAS_ID))
    if not 0 <= no_bias_id < vocab_size:
        raise ValueError(f"model_conf: NO_BIAS {no_bias_id} is not the id of one of {vocab_size} tokens")
    return SeacoParaformer(
        encoder,
        build_component(config, "predictor", PREDICTORS),
        build_component(config, "decoder", decoders, vocab_size=vocab_size, encoder_output_size=size),
        build_ctc(config, vocab_size, size),
        build_component(config, "seaco_decoder", seaco_decoders, vocab_size=None, encoder_output_size=inner_dim),
        vocab_size=vocab_size,
        inner_dim=inner_dim,
        no_bias_id=no_bias_id,
        bias_encoder_dropout_rate=float(conf.get("bias_encoder_dropout_rate", 0.0)),
    )
