"""Searches of the Paraformer family: all tokens at once, the best at every position."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from funrecipe.decode.hotwords import read_hotwords, spell_hotwords
from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.timestamps import align, token_times_ms
from funrecipe.model_folder import ModelFolder
from funrecipe.text.tokenizer import Tokenizer

BLANK_ID, EOS_ID = 0, 2


class ParaformerSearch:
    """Arg-max per position; blank and eos are removed from the result but count in its score."""

    honours: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None:
        self.model = model

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """See :class:`funrecipe.decode.families.Search`; an utterance without tokens gives an empty hypothesis."""
        log_probs, token_lens = self.model(feats, feat_lens)
        return [[hypothesis] for hypothesis in greedy(log_probs, token_lens)]


class BiCifParaformerSearch(ParaformerSearch):
    """Adds the time of every token."""

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None:
        super().__init__(model, folder, options)
        conf = folder.config.get("frontend_conf") or {}
        frame_ms = conf.get("frame_shift", 10) * conf.get("lfr_n", 1)
        self.step_s = frame_ms / 1000 / model.predictor.upsample_times

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        encoder_out, encoder_out_lens = self.model.encode(feats, feat_lens)
        cif = self.model.predict(encoder_out, encoder_out_lens)
        token_lens = cif.token_num.long()
        log_probs = self.model.decode(encoder_out, encoder_out_lens, cif.embeds, token_lens)
        fine = self.model.predictor.fine_cif(encoder_out, encoder_out_lens, cif.token_num)
        fine_lens = (encoder_out_lens * self.model.predictor.upsample_times).tolist()
        results = []
        for row, hypothesis in enumerate(greedy(log_probs, token_lens)):
            alphas, peaks = fine.alphas[row, : fine_lens[row]], fine.peaks[row, : fine_lens[row]]
            times = token_times_ms(align(alphas, peaks, len(hypothesis.ids), self.step_s))
            results.append([TokenHypothesis(hypothesis.ids, hypothesis.score, times)])
        return results


class ContextualParaformerSearch(ParaformerSearch):
    """Recognizes with hot words, which are encoded once."""

    honours: ClassVar[frozenset[str]] = frozenset({"hotword", "clas_scale"})

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None:
        super().__init__(model, folder, options)
        words = read_hotwords(options.hotword, allow_network=options.allow_network)
        with torch.inference_mode():
            self.context = model.encode_hotwords(spell_hotwords(words, Tokenizer.from_folder(folder)))
        self.scale = 1.0 if options.clas_scale is None else options.clas_scale

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        encoder_out, encoder_out_lens = self.model.encode(feats, feat_lens)
        cif = self.model.predict(encoder_out, encoder_out_lens)
        token_lens = cif.token_num.long()
        log_probs = self.model.decode(
            encoder_out, encoder_out_lens, cif.embeds, token_lens, self.context, self.scale
        )
        return [[hypothesis] for hypothesis in greedy(log_probs, token_lens)]


def greedy(log_probs: Tensor, token_lens: Tensor) -> list[TokenHypothesis]:
    """``log_probs (B, U, V)``, ``token_lens (B,)`` -> one hypothesis each; the score sums over ``token_lens``."""
    best = log_probs.max(dim=-1)
    counted = torch.arange(log_probs.size(1), device=log_probs.device) < token_lens[:, None]
    scores = (best.values.double() * counted).sum(dim=1).tolist()
    return [
        TokenHypothesis([i for i in ids[:length] if i not in (BLANK_ID, EOS_ID)], score)
        for ids, length, score in zip(best.indices.tolist(), token_lens.tolist(), scores)
    ]
