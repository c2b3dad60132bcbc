"""SenseVoiceSmall: CTC recognition of five languages, with language, emotion and event from the same pass.

Four query vectors precede the features; the CTC head's output at their positions is the language, the emotion,
the event and whether the text is written with punctuation and digits. Positions from the fifth on are the text.

Source: An et al. 2024, "FunAudioLLM"; ``funasr.models.sense_voice.model.SenseVoiceSmall`` (1.4.16).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from funrecipe.errors import DataError
from funrecipe.models.ctc import CTC
from funrecipe.models.layers import LayerNorm
from funrecipe.models.registry import build_component, construct
from funrecipe.models.sanm import SANMEncoder

QUERIES = 4  # positions before the text: language, emotion, event, text normalization
QUERY_ROWS = 16
# Row of ``embed`` by request. Rows 1 and 2 ask for emotion and event; 5, 6, 8, 9 and 10 are unused.
LANGUAGE_ROWS = {"auto": 0, "zh": 3, "en": 4, "yue": 7, "ja": 11, "ko": 12, "nospeech": 13}
EMOTION_EVENT_ROWS = (1, 2)
ITN_ROWS = {"withitn": 14, "woitn": 15}


class SenseVoiceEncoder(SANMEncoder):
    """SAN-M encoder with ``tp_blocks`` more blocks after ``after_norm``. Keys ``tp_encoders.N``, ``tp_norm``."""

    norm_eps = 1e-5

    def __init__(self, input_size: int, *, tp_blocks: int = 0, **sanm: Any) -> None:
        super().__init__(input_size, **sanm)
        self.tp_encoders = nn.ModuleList([self.new_block(self.output_size) for _ in range(tp_blocks)])
        self.tp_norm = LayerNorm(self.output_size, self.norm_eps)

    def run_blocks(self, x: Tensor, frame_mask: Tensor | None = None, attention_mask: Tensor | None = None) -> Tensor:
        """All blocks and both norms; masks as in :class:`SANMSelfAttention`."""
        x = super().run_blocks(x, frame_mask, attention_mask)
        for layer in self.tp_encoders:
            x = layer(x, frame_mask, attention_mask)
        return self.tp_norm(x)


class SenseVoice(nn.Module):
    """Encoder over queries and features, and a CTC head. Keys ``embed.weight`` (16, F), ``encoder``, ``ctc``.

    Args:
        label_rows: token id of a language or normalization tag -> its row of ``embed``.
    """

    def __init__(self, encoder: SenseVoiceEncoder, ctc: CTC, label_rows: Mapping[int, int]) -> None:
        super().__init__()
        self.encoder, self.ctc, self.label_rows = encoder, ctc, dict(label_rows)
        self.embed = nn.Embedding(QUERY_ROWS, encoder.input_size)

    def queries(self, language_rows: Tensor, itn_rows: Tensor) -> Tensor:
        """``language_rows``, ``itn_rows`` (B,) of ``embed`` -> (B, 4, F), one vector for each position of a tag."""
        emotion_event = torch.tensor(EMOTION_EVENT_ROWS, device=language_rows.device).expand(language_rows.size(0), -1)
        return self.embed(torch.cat([language_rows[:, None], emotion_event, itn_rows[:, None]], dim=1))

    def encode(
        self, feats: Tensor, feat_lens: Tensor, language_rows: Tensor | None = None, itn_rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``feats`` (B, T, F), ``feat_lens`` (B,) -> (B, T + 4, D), lengths; zero past each length.

        Args:
            language_rows, itn_rows: (B,) rows of ``embed``; None: any language, without inverse normalization.
        """
        if language_rows is None:
            language_rows = torch.full_like(feat_lens, LANGUAGE_ROWS["auto"])
        if itn_rows is None:
            itn_rows = torch.full_like(feat_lens, ITN_ROWS["woitn"])
        queries = self.queries(language_rows, itn_rows).to(feats.dtype)
        return self.encoder(torch.cat([queries, feats], dim=1), feat_lens + QUERIES)


def label_rows(tokens: Sequence[str]) -> dict[int, int]:
    """Token id -> row of ``embed``, for the language and normalization tags of a vocabulary.

    Raises:
        DataError: the vocabulary lacks a normalization tag, so it belongs to another kind of model.
    """
    ids = {token: number for number, token in enumerate(tokens)}
    rows = {f"<|{name}|>": row for name, row in (LANGUAGE_ROWS | ITN_ROWS).items() if name != "auto"}
    for name in ITN_ROWS:
        if f"<|{name}|>" not in ids:
            raise DataError(
                f"the vocabulary has no token <|{name}|>", hint="give the tokens.json of a SenseVoice model"
            )
    return {ids[tag]: row for tag, row in rows.items() if tag in ids}


def build_sense_voice(config: Mapping[str, Any], input_size: int, vocab_size: int) -> SenseVoice:
    """SenseVoiceSmall of ``config``."""
    encoder = build_component(config, "encoder", {"sense_voice_small": SenseVoiceEncoder}, input_size=input_size)
    ctc_conf = config.get("ctc_conf") or {}
    ctc = construct(CTC, ctc_conf, "ctc_conf", vocab_size=vocab_size, encoder_output_size=encoder.output_size)
    return SenseVoice(encoder, ctc, label_rows(config.get("token_list") or ()))
