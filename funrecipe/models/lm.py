"""Language models over the recognizer's tokens: Transformer LM and recurrent LM, with FunASR's state-dict keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from funrecipe.models.input_layers import PositionalEncoding
from funrecipe.models.layers import length_mask
from funrecipe.models.registry import construct
from funrecipe.models.special_ids import EOS_ID, SOS_ID
from funrecipe.models.transformer import TransformerEncoder, causal_mask


class TransformerLM(nn.Module):
    """FunASR: TransformerLM. Token 0 (blank) is never attended to; without ``pos_enc`` only the causal mask orders."""

    def __init__(
        self,
        vocab_size: int,
        pos_enc: str | None = None,
        embed_unit: int = 128,
        att_unit: int = 256,
        head: int = 2,
        unit: int = 1024,
        layer: int = 4,
        dropout_rate: float = 0.5,
    ) -> None:
        super().__init__()
        if pos_enc not in (None, "sinusoidal"):
            raise ValueError(f"transformer LM: unknown pos_enc '{pos_enc}' (sinusoidal or null)")
        self.embed = nn.Embedding(vocab_size, embed_unit)
        self.encoder = TransformerEncoder(
            embed_unit,
            output_size=att_unit,
            attention_heads=head,
            linear_units=unit,
            num_blocks=layer,
            dropout_rate=dropout_rate,
            input_layer="linear",
        )
        if pos_enc is None:
            self.encoder.embed[-1] = nn.Identity()
        self.decoder = nn.Linear(att_unit, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens`` (B, U) beginning with sos -> logits of the next token (B, U, V)."""
        mask = (tokens != 0).unsqueeze(1) & causal_mask(tokens.size(1), tokens.device)
        lens = torch.full((tokens.size(0),), tokens.size(1), device=tokens.device)
        x = self.encoder.embed(self.embed(tokens), lens).x
        for layer in self.encoder.encoders:
            x = layer(x, mask)
        return self.decoder(self.encoder.after_norm(x))

    def start(self, batch: int, device: torch.device) -> list[Tensor]:
        """State of one empty hypothesis per utterance: which tokens count (B, 1, 0), then keys and values per layer."""
        past = self.encoder.encoders[0].self_attn.no_past(batch, device)
        return [torch.zeros(batch, 1, 0, dtype=torch.bool, device=device)] + [past] * (2 * len(self.encoder.encoders))

    def step(self, tokens: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Log-probabilities after one more token of each hypothesis. ``tokens`` (B, K) -> (B, K, V), state."""
        key_mask = torch.cat([state[0], (tokens != 0).unsqueeze(2)], dim=2)
        x = self.embed(tokens)
        *layers, position = self.encoder.embed
        for layer in layers:
            x = layer(x)
        if isinstance(position, PositionalEncoding):
            x = position(x.flatten(0, 1).unsqueeze(1), start=state[0].size(2)).view_as(x)
        new_state = [key_mask]
        for number, layer in enumerate(self.encoder.encoders):
            x, longer = layer.step(x, (state[2 * number + 1], state[2 * number + 2]), key_mask)
            new_state += longer
        return torch.log_softmax(self.decoder(self.encoder.after_norm(x)), dim=-1), new_state


class SequentialRNNLM(nn.Module):
    """FunASR: SequentialRNNLM (LSTM, GRU or Elman)."""

    def __init__(
        self,
        vocab_size: int,
        unit: int = 650,
        nhid: int | None = None,
        nlayers: int = 2,
        dropout_rate: float = 0.0,
        tie_weights: bool = False,
        rnn_type: str = "lstm",
        ignore_id: int = 0,
    ) -> None:
        super().__init__()
        kinds = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN, "rnn_relu": nn.RNN}
        kind = rnn_type.lower()
        if kind not in kinds:
            raise ValueError(f"recurrent LM: unknown rnn_type '{rnn_type}' (known: {', '.join(kinds)})")
        nonlinearity = {"nonlinearity": kind[4:]} if kinds[kind] is nn.RNN else {}
        hidden = nhid or unit
        self.drop = nn.Dropout(dropout_rate)
        self.encoder = nn.Embedding(vocab_size, unit, padding_idx=ignore_id)
        self.rnn = kinds[kind](unit, hidden, nlayers, dropout=dropout_rate, batch_first=True, **nonlinearity)
        self.decoder = nn.Linear(hidden, vocab_size)
        if tie_weights:
            self.decoder.weight = self.encoder.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens`` (B, U) beginning with sos -> logits of the next token (B, U, V)."""
        output, _ = self.rnn(self.drop(self.encoder(tokens)))
        return self.decoder(self.drop(output))

    def start(self, batch: int, device: torch.device) -> list[Tensor]:
        """State of one empty hypothesis per utterance: hidden (and cell), each (B, 1, layers, hidden)."""
        parts = 2 if isinstance(self.rnn, nn.LSTM) else 1
        return [torch.zeros(batch, 1, self.rnn.num_layers, self.rnn.hidden_size, device=device)] * parts

    def step(self, tokens: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Log-probabilities after one more token of each hypothesis. ``tokens`` (B, K) -> (B, K, V), state."""
        hidden = [part.flatten(0, 1).transpose(0, 1).contiguous() for part in state]
        is_lstm = isinstance(self.rnn, nn.LSTM)
        embedded = self.encoder(tokens.flatten().unsqueeze(1))
        output, after = self.rnn(embedded, tuple(hidden) if is_lstm else hidden[0])
        parts = after if is_lstm else (after,)
        log_probs = torch.log_softmax(self.decoder(output), dim=-1)
        return log_probs.view(*tokens.shape, -1), [part.transpose(0, 1).unflatten(0, tokens.shape) for part in parts]


class LanguageModel(nn.Module):
    """A language model as FunASR stores one (keys ``lm.*``)."""

    def __init__(self, lm: TransformerLM | SequentialRNNLM, vocab_size: int) -> None:
        super().__init__()
        self.lm, self.vocab_size = lm, vocab_size

    def nll(self, tokens: Tensor, token_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of every token and of eos after the last.

        ``tokens`` (B, U), padding of any value; ``token_lens`` (B,). Returns (B, U + 1), zeros past each length, and
        the lengths + 1.
        """
        inside = length_mask(token_lens, tokens.size(1))
        inputs = F.pad(tokens.masked_fill(~inside, 0), (1, 0), value=SOS_ID)
        targets = F.pad(tokens.masked_fill(~inside, 0), (0, 1)).scatter(1, token_lens.unsqueeze(1), EOS_ID)
        nll = F.cross_entropy(self.lm(inputs).transpose(1, 2), targets, reduction="none")
        return nll.masked_fill(~length_mask(token_lens + 1, targets.size(1)), 0.0), token_lens + 1


def build_language_model(config: Mapping[str, Any], input_size: int, vocab_size: int) -> LanguageModel:
    """The model of an ``lm.yaml``; ValueError for an unknown ``lm``."""
    kinds = {"transformer": TransformerLM, "seq_rnn": SequentialRNNLM}
    name = config.get("lm", "seq_rnn")
    if name not in kinds:
        raise ValueError(f"unknown language model '{name}' (known: {', '.join(kinds)})")
    lm = construct(kinds[name], config.get("lm_conf") or {}, "lm_conf", vocab_size=vocab_size)
    return LanguageModel(lm, vocab_size)
