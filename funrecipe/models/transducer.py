"""RNN transducer (Graves 2012, arXiv:1211.3711): encoder, prediction network, joint network.

FunASR: TransducerModel and UnifiedTransducerModel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from funrecipe.models.chunk_conformer import ChunkConformerEncoder
from funrecipe.models.conformer import ConformerEncoder
from funrecipe.models.layers import activation
from funrecipe.models.registry import build_component, construct
from funrecipe.models.transformer import TransformerDecoder

ENCODERS = {"chunk_conformer": ChunkConformerEncoder, "conformer": ConformerEncoder}

# hidden and (LSTM) cell of N hypotheses, each (layers, N, H)
PredictionState = tuple[Tensor, ...]


class PredictionNetwork(nn.Module):
    """Embedding and recurrent layers over the labels so far. FunASR: RNNTDecoder (keys embed, rnn.N)."""

    INERT = {"use_embed_mask": False}

    def __init__(
        self,
        vocab_size: int,
        embed_size: int = 256,
        hidden_size: int = 256,
        rnn_type: str = "lstm",
        num_layers: int = 1,
        dropout_rate: float = 0.0,
        embed_dropout_rate: float = 0.0,
        embed_pad: int = 0,
    ) -> None:
        super().__init__()
        if rnn_type not in ("lstm", "gru"):
            raise ValueError(f"prediction network: rnn_type is lstm or gru, not '{rnn_type}'")
        kind = nn.LSTM if rnn_type == "lstm" else nn.GRU
        self.embed = nn.Embedding(vocab_size, embed_size, padding_idx=embed_pad)
        self.rnn = nn.ModuleList(
            kind(hidden_size if layer else embed_size, hidden_size, 1, batch_first=True) for layer in range(num_layers)
        )
        self.dropout_embed, self.dropout_rnn = nn.Dropout(embed_dropout_rate), nn.Dropout(dropout_rate)
        self.output_size, self.vocab_size, self.n_states = hidden_size, vocab_size, 2 if rnn_type == "lstm" else 1

    def start(self, batch: int, device: torch.device) -> PredictionState:
        """State before the first label."""
        zeros = torch.zeros(len(self.rnn), batch, self.output_size, device=device)
        return (zeros,) * self.n_states

    def forward(self, labels: Tensor, state: PredictionState | None = None) -> tuple[Tensor, PredictionState]:
        """``labels`` (B, U) beginning with blank -> (B, U, H) and the state after the last."""
        state = state or self.start(labels.size(0), labels.device)
        x = self.dropout_embed(self.embed(labels))
        after = []
        for number, layer in enumerate(self.rnn):
            before = tuple(part[number : number + 1].contiguous() for part in state)
            x, hidden = layer(x, before if self.n_states == 2 else before[0])
            after.append(hidden if self.n_states == 2 else (hidden,))
            x = self.dropout_rnn(x)
        return x, tuple(torch.cat([parts[i] for parts in after]) for i in range(self.n_states))


class JointNetwork(nn.Module):
    """lin_out(act(lin_enc(encoder) + lin_dec(prediction))). FunASR: JointNetwork."""

    def __init__(
        self,
        output_size: int,
        encoder_size: int,
        decoder_size: int,
        joint_space_size: int = 256,
        joint_activation_type: str = "tanh",
    ) -> None:
        super().__init__()
        self.lin_enc = nn.Linear(encoder_size, joint_space_size)
        self.lin_dec = nn.Linear(decoder_size, joint_space_size, bias=False)
        self.lin_out = nn.Linear(joint_space_size, output_size)
        self.activation = activation(joint_activation_type)

    def forward(self, encoder_out: Tensor, prediction: Tensor) -> Tensor:
        """Shapes that broadcast, such as (B, T, 1, D) and (B, 1, U, H) -> logits (B, T, U, V)."""
        return self.combine(self.lin_enc(encoder_out), self.lin_dec(prediction))

    def combine(self, encoder_part: Tensor, prediction_part: Tensor) -> Tensor:
        """Logits of projected inputs; a search projects each of them once."""
        return self.lin_out(self.activation(encoder_part + prediction_part))


class TransducerModel(nn.Module):
    """``decoder`` is the prediction network, as in FunASR's keys; the auxiliary heads are only for training."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: PredictionNetwork,
        joint_network: JointNetwork,
        *,
        att_decoder: nn.Module | None = None,
        ctc_lin: nn.Module | None = None,
        lm_lin: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.joint_network = encoder, decoder, joint_network
        self.att_decoder, self.ctc_lin, self.lm_lin = att_decoder, ctc_lin, lm_lin

    @property
    def device(self) -> torch.device:
        return self.decoder.embed.weight.device

    def encode(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Whole utterances. ``feats`` (B, T, F), ``feat_lens`` (B,) -> (B, T', D), (B,)."""
        return self.encoder(feats, feat_lens)


def build_transducer(config: Mapping[str, Any], input_size: int, vocab_size: int) -> TransducerModel:
    """The model of a config whose ``model`` is ``rnnt`` or ``rnnt_unified``."""
    conf = config.get("model_conf") or {}
    encoder = build_component(config, "encoder", ENCODERS, input_size=input_size)
    width = encoder.output_size
    decoder_conf = config.get("rnnt_decoder_conf") or {}
    decoder = construct(PredictionNetwork, decoder_conf, "rnnt_decoder_conf", vocab_size=vocab_size)
    joint = construct(
        JointNetwork,
        config.get("joint_network_conf") or {},
        "joint_network_conf",
        output_size=vocab_size,
        encoder_size=width,
        decoder_size=decoder.output_size,
    )
    with_att, with_ctc, with_lm = (
        float(conf.get(key, 0.0)) > 0
        for key in ("auxiliary_att_weight", "auxiliary_ctc_weight", "auxiliary_lm_loss_weight")
    )
    attention = None
    if with_att:
        decoders = {"transformer": TransformerDecoder}
        attention = build_component(config, "decoder", decoders, vocab_size=vocab_size, encoder_output_size=width)
    return TransducerModel(
        encoder,
        decoder,
        joint,
        att_decoder=attention,
        ctc_lin=nn.Linear(width, vocab_size) if with_ctc else None,
        lm_lin=nn.Linear(decoder.output_size, vocab_size) if with_lm else None,
    )
