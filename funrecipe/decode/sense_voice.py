"""Recognition with SenseVoiceSmall: CTC's best path, read as tags and text, with the time of every token."""

from __future__ import annotations

import torch
from torch import Tensor

from funrecipe.decode.ctc_prefix import greedy_search
from funrecipe.decode.hypothesis import RichText, TokenHypothesis
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.timestamps import align_tokens, spans_ms, token_spans
from funrecipe.errors import DataError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.sense_voice import ITN_ROWS, LANGUAGE_ROWS, QUERIES, SenseVoice
from funrecipe.text.rich import (
    EMOTIONS,
    EVENTS,
    LANGUAGES,
    OTHER_EVENTS,
    UNKNOWN_EMOTION,
    draw_tags,
    spaced,
    strip_tags,
    tag_name,
)
from funrecipe.text.sentence_pieces import SentencePieceTokenizer

EMOTION_NAMES = (*EMOTIONS, UNKNOWN_EMOTION)
EVENT_NAMES = (*EVENTS, *OTHER_EVENTS)


class SenseVoiceSearch:
    """The best token at every position; the first four positions are tags."""

    def __init__(self, model: SenseVoice, folder: ModelFolder, options: DecodeOptions) -> None:
        language = options.language or "auto"
        if not isinstance(folder.tokenizer, SentencePieceTokenizer):
            raise DataError("the model folder has no SentencePiece model", where=str(folder.path),
                            hint="download the whole model again: funrecipe download <id>")  # fmt: skip
        self.model, self.tokenizer = model, folder.tokenizer
        self.language_row = LANGUAGE_ROWS[language]
        self.itn_row = ITN_ROWS["withitn" if options.use_itn else "woitn"]
        self.output = options.output or "plain"
        self.banned_id = self.tokenizer.ids.get(f"<|{UNKNOWN_EMOTION}|>") if options.ban_emo_unk else None
        self.frame_ms = int(folder.encoder_frame_ms)

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """See :class:`funrecipe.decode.search.Search`."""
        log_probs, lens = self.log_probs(feats, feat_lens)
        whole = greedy_search(log_probs, lens)
        text = greedy_search(log_probs[:, QUERIES:], lens - QUERIES)
        first = log_probs[:, :QUERIES].argmax(-1).tolist()
        return [
            [self._hypothesis(*found, spoken, tags, row[QUERIES:length])]
            for found, (spoken, _), tags, row, length in zip(whole, text, first, log_probs, lens.tolist(), strict=True)
        ]

    def log_probs(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T + 4, V) and lengths, with the requested languages and normalization."""
        rows = (torch.full_like(feat_lens, self.language_row), torch.full_like(feat_lens, self.itn_row))
        encoder_out, lens = self.model.encode(feats, feat_lens, *rows)
        return self.banned(self.model.ctc.log_probs(encoder_out)), lens

    def banned(self, log_probs: Tensor) -> Tensor:
        """``log_probs`` (B, T, V) with the column of a banned tag at minus infinity, in place."""
        if self.banned_id is not None:
            log_probs[:, :, self.banned_id] = -torch.inf
        return log_probs

    def _hypothesis(
        self, ids: list[int], score: float, spoken: list[int], first: list[int], log_probs: Tensor
    ) -> TokenHypothesis:
        """``ids`` of all positions, ``spoken`` of those past the tags, whose log-probabilities are (T, V)."""
        path = align_tokens(log_probs.float().cpu().numpy(), spoken)
        times = spans_ms(token_spans(path), len(log_probs), self.frame_ms)
        names = [tag_name(self.tokenizer.tokens[i]) for i in first]
        if self.output == "plain":
            display = strip_tags(self.tokenizer.decode(spoken))
        else:
            display = self.tokenizer.decode(ids)
            display = draw_tags(display) if self.output == "emoji" else display
        rich = RichText(
            spaced(display) if self.output == "plain" else display,
            display,
            language=next((name for name in names if name in LANGUAGES), None),
            emotion=next((name for name in names if name in EMOTION_NAMES), None),
            event=next((name for name in names if name in EVENT_NAMES), None),
        )
        return TokenHypothesis(spoken, score, times, rich=rich)
