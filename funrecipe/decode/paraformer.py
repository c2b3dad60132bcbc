"""Searches of the Paraformer family: all tokens at once, greedily or with a beam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from funrecipe.decode.beam_search import BeamHypothesis, BeamOptions, JointBeamSearch
from funrecipe.decode.ctc_prefix import CTCPrefixScorer
from funrecipe.decode.hotwords import read_hotwords, spell_hotwords
from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.language_model import load_fusion
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.scorers import AcousticScorer, LMScorer
from funrecipe.decode.timestamps import check_ctc_times, encoder_frame_ms, with_ctc_times, with_fine_times
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.cif import CifOutput
from funrecipe.models.special_ids import BLANK_ID, EOS_ID, SOS_ID

MARKS = (BLANK_ID, EOS_ID)
DEFAULT_BEAM_SIZE = 10  # used for the published language model results of Paraformer
# The least share of the predicted tokens in a text, if minlenratio is not set; CTC also discourages an early end.
LEAST_SHARE, LEAST_SHARE_WITH_CTC = 0.9, 0.8


class ParaformerSearch:
    """The best token at every position; with a CTC or language model weight, a beam search over all positions.

    Blank and eos (``marks``) are removed from the result but contribute to its score.
    """

    marks: ClassVar[tuple[int, ...]] = MARKS

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None:
        self.model, self.nbest = model, options.nbest or 1
        device = next(model.parameters()).device
        self.fusion = load_fusion(folder, replace(options, hotword=None), device=device)
        beam = BeamOptions.of(options, DEFAULT_BEAM_SIZE)
        if beam.ctc_weight > 0.0 and model.ctc is None:
            raise UsageError(
                f"ctc_weight is {beam.ctc_weight:g}, but this model has no CTC head",
                where="--ctc_weight or decoding.yaml",
                hint="leave it out; the model was trained with ctc_weight 0",
            )
        self.timed = bool(options.timestamp) and not folder.row.has_times
        self.frame_s = encoder_frame_ms(folder, model) / 1000
        if self.timed:
            check_ctc_times(model, folder)
        self.beam = beam if beam.ctc_weight > 0.0 or self.fusion or self.nbest > 1 else None

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """See :class:`funrecipe.decode.search.Search`; an utterance without tokens gives an empty hypothesis."""
        encoder_out, encoder_out_lens = self.model.encode(feats, feat_lens)
        cif = self.model.predict(encoder_out, encoder_out_lens)
        token_lens = cif.token_num.long()
        log_probs = self.log_probs(encoder_out, encoder_out_lens, cif.embeds, token_lens)
        nbests = [[hypothesis] for hypothesis in greedy(log_probs, token_lens, self.marks)]
        if self.beam is not None:
            found = self.search(log_probs, token_lens, encoder_out, encoder_out_lens)
            nbests = [beam or best for beam, best in zip(found, nbests)]
        return self.finish(nbests, encoder_out, encoder_out_lens, cif)

    def log_probs(self, encoder_out: Tensor, encoder_out_lens: Tensor, embeds: Tensor, token_lens: Tensor) -> Tensor:
        """(B, U, V) of the parallel decoder."""
        return self.model.decode(encoder_out, encoder_out_lens, embeds, token_lens)

    def search(
        self, log_probs: Tensor, token_lens: Tensor, encoder_out: Tensor, encoder_out_lens: Tensor
    ) -> list[list[TokenHypothesis]]:
        """Beam search with CTC and language model; no hypothesis where no token was predicted."""
        assert self.beam is not None
        ctc = self.model.ctc.log_probs(encoder_out) if self.beam.ctc_weight > 0.0 else None
        found = paraformer_beam_search(
            log_probs, token_lens, self.beam, self.fusion, ctc_log_probs=ctc, ctc_lens=encoder_out_lens
        )
        return [
            [TokenHypothesis(without_marks(hyp.tokens[1:-1], self.marks), hyp.score) for hyp in hyps[: self.nbest]]
            for hyps in found
        ]

    def finish(
        self, nbests: list[list[TokenHypothesis]], encoder_out: Tensor, encoder_out_lens: Tensor, cif: CifOutput
    ) -> list[list[TokenHypothesis]]:
        """Adds times of the CTC head to the hypotheses, if requested."""
        if not self.timed:
            return nbests
        return with_ctc_times(nbests, self.model.ctc.log_probs(encoder_out), encoder_out_lens, self.frame_s)


class BiCifParaformerSearch(ParaformerSearch):
    """Adds the time of every token, requested or not."""

    def finish(
        self, nbests: list[list[TokenHypothesis]], encoder_out: Tensor, encoder_out_lens: Tensor, cif: CifOutput
    ) -> list[list[TokenHypothesis]]:
        predictor = self.model.predictor
        fine = predictor.fine_cif(encoder_out, encoder_out_lens, cif.token_num)
        steps = predictor.upsample_times
        return with_fine_times(nbests, fine.alphas, fine.peaks, encoder_out_lens * steps, self.frame_s / steps)


class ContextualParaformerSearch(ParaformerSearch):
    """Recognizes with hotwords, which are encoded once."""

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None:
        super().__init__(model, folder, options)
        words = read_hotwords(options.hotword, allow_network=options.allow_network)
        with torch.inference_mode():
            self.context = model.encode_hotwords(spell_hotwords(words, folder.tokenizer))
        self.scale = 1.0 if options.clas_scale is None else options.clas_scale

    def log_probs(self, encoder_out: Tensor, encoder_out_lens: Tensor, embeds: Tensor, token_lens: Tensor) -> Tensor:
        return self.model.decode(encoder_out, encoder_out_lens, embeds, token_lens, self.context, self.scale)


class SeacoParaformerSearch(BiCifParaformerSearch):
    """Recognizes with hotwords, which are encoded once, and gives the time of every token."""

    marks = (BLANK_ID, SOS_ID, EOS_ID)

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None:
        super().__init__(model, folder, options)
        words = spell_hotwords(read_hotwords(options.hotword, allow_network=options.allow_network), folder.tokenizer)
        with torch.inference_mode():
            self.context = model.encode_hotwords(words) if words else None

    def log_probs(self, encoder_out: Tensor, encoder_out_lens: Tensor, embeds: Tensor, token_lens: Tensor) -> Tensor:
        return self.model.decode(encoder_out, encoder_out_lens, embeds, token_lens, self.context)


def paraformer_beam_search(
    log_probs: Tensor,
    token_lens: Tensor,
    options: BeamOptions,
    fusion: Sequence[LMScorer] = (),
    *,
    ctc_log_probs: Tensor | None = None,
    ctc_lens: Tensor | None = None,
) -> list[list[BeamHypothesis]]:
    """Search one token per predicted position; the decoder counts with weight 1. FunASR: BeamSearchPara.

    Every token costs, so language models with a large weight favor short texts, and only CTC discourages an
    early end. Unlike in FunASR, a text therefore ends no sooner than after ``minlenratio`` (0: ``LEAST_SHARE``) of the
    tokens that the model predicts.

    Args:
        log_probs: (B, U, V) of the parallel decoder.
        token_lens: (B,) int64, positions of each utterance; the text ends there at the latest.
        options: beam size and weights; ``minlenratio`` is a share of the predicted tokens, and a ``maxlenratio``
            other than 0 only turns the end detection off.
        fusion: language models.
        ctc_log_probs, ctc_lens: (B, T, V), (B,) of the CTC head; needed if ``options.ctc_weight`` > 0.

    Returns:
        Every ended hypothesis of each utterance, best first; none where no token was predicted.
    """
    least = (options.minlenratio * token_lens).long() if options.minlenratio else default_least(token_lens, options)
    is_early = torch.arange(log_probs.size(1), device=log_probs.device) < least.unsqueeze(1)
    log_probs = log_probs.clone()
    log_probs[..., EOS_ID].masked_fill_(is_early, -torch.inf)
    scorers = [AcousticScorer(log_probs), *fusion]
    ctc = CTCPrefixScorer(ctc_log_probs, ctc_lens) if options.ctc_weight > 0 else None
    search = JointBeamSearch(scorers, ctc, options, vocab_size=log_probs.size(-1))
    return search.run(token_lens.tolist(), log_probs.device)


def default_least(token_lens: Tensor, options: BeamOptions) -> Tensor:
    """The least number of tokens (B,) of a text; the last of ``token_lens`` positions is that of its end."""
    share = LEAST_SHARE_WITH_CTC if options.ctc_weight > 0 else LEAST_SHARE
    tokens = token_lens - 1
    return torch.where(tokens > 0, (share * tokens).long().clamp(min=1), 0)


def without_marks(ids: list[int], marks: tuple[int, ...] = MARKS) -> list[int]:
    """Token ids without blank and eos, or other ``marks``."""
    return [i for i in ids if i not in marks]


def greedy(log_probs: Tensor, token_lens: Tensor, marks: tuple[int, ...] = MARKS) -> list[TokenHypothesis]:
    """``log_probs`` (B, U, V), ``token_lens`` (B,) -> one hypothesis each; the score sums over ``token_lens``."""
    best = log_probs.max(dim=-1)
    counted = torch.arange(log_probs.size(1), device=log_probs.device) < token_lens[:, None]
    scores = (best.values.double() * counted).sum(dim=1).tolist()
    return [
        TokenHypothesis(without_marks(ids[:length], marks), score)
        for ids, length, score in zip(best.indices.tolist(), token_lens.tolist(), scores)
    ]
