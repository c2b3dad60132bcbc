"""Recognition with Conformer and Transformer CTC/attention models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from funrecipe.decode.beam_search import BeamHypothesis, BeamOptions, JointBeamSearch, Scorer
from funrecipe.decode.ctc_prefix import CTCPrefixScorer, greedy_search, prefix_beam_search
from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.language_model import load_fusion
from funrecipe.decode.options import DecodeOptions, decoding_mode_of
from funrecipe.decode.scorers import DecoderScorer, LMScorer
from funrecipe.decode.timestamps import check_ctc_times, encoder_frame_ms, with_ctc_times
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.ctc_attention import CTCAttentionModel
from funrecipe.models.special_ids import BLANK_ID, EOS_ID

DEFAULT_BEAM_SIZE = 10
DEFAULT_CTC_WEIGHT = 0.5


class CTCAttentionSearch:
    """Joint beam search, or CTC alone: the best path (``ctc_greedy``) or a prefix beam search (``ctc_prefix``)."""

    def __init__(self, model: CTCAttentionModel, folder: ModelFolder, options: DecodeOptions) -> None:
        self.model, self.nbest = model, options.nbest or 1
        self.mode = decoding_mode_of(options, folder.family)
        if options.ctc_weight is None:
            usual = 0.0 if model.ctc is None else 1.0 if model.decoder is None else DEFAULT_CTC_WEIGHT
            options = replace(options, ctc_weight=usual)
        self.beam = BeamOptions.of(options, DEFAULT_BEAM_SIZE)
        weight = self.beam.ctc_weight
        if weight > 1.0:
            raise UsageError(f"ctc_weight is {weight:g}, not from 0 to 1", where="--ctc_weight or decoding.yaml",
                             hint="give a number from 0 to 1; the attention decoder gets the rest")  # fmt: skip
        if model.ctc is None and (weight > 0.0 or self.mode != "joint"):
            raise missing_head("CTC head", 0, folder)
        if model.decoder is None and weight < 1.0 and self.mode == "joint":
            raise missing_head("attention decoder", 1, folder)
        self.fusion = load_fusion(folder, options, device=next(model.parameters()).device)
        self.timed, self.frame_s = bool(options.timestamp), encoder_frame_ms(folder, model) / 1000
        if self.timed:
            check_ctc_times(model, folder)

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """See :class:`funrecipe.decode.search.Search`; an utterance shorter than one encoder frame gives none."""
        encoder_out, lens = self.model.encode(feats, feat_lens)
        nbests = self._search(encoder_out, lens)
        if not self.timed:
            return nbests
        return with_ctc_times(nbests, self.model.ctc.log_probs(encoder_out), lens, self.frame_s)

    def _search(self, encoder_out: Tensor, lens: Tensor) -> list[list[TokenHypothesis]]:
        if self.mode == "joint":
            found = joint_search(self.model, encoder_out, lens, self.beam, self.fusion)
            kept = [self.beam.long_enough(hyps, frames) for hyps, frames in zip(found, lens.tolist(), strict=True)]
            return [[text_hypothesis(hyp) for hyp in hyps[: self.nbest]] for hyps in kept]
        log_probs = self.model.ctc.log_probs(encoder_out)
        if self.mode == "ctc_greedy":
            return [[TokenHypothesis(ids, score)] for ids, score in greedy_search(log_probs, lens)]
        size = self.beam.beam_size
        beams = [prefix_beam_search(row[:frames], size) for row, frames in zip(log_probs, lens.tolist(), strict=True)]
        return [[TokenHypothesis(ids, score) for ids, score in beam[: self.nbest]] for beam in beams]


def joint_search(
    model: CTCAttentionModel, encoder_out: Tensor, lens: Tensor, options: BeamOptions, fusion: Sequence[LMScorer] = ()
) -> list[list[BeamHypothesis]]:
    """Joint CTC/attention/LM beam search of a batch: every ended hypothesis of each utterance, best first.

    ``encoder_out`` (B, T, D), ``lens`` (B,).
    """
    scorers: list[Scorer] = []
    if options.ctc_weight < 1.0:
        memory = model.decoder.memory(encoder_out, lens)
        scorers.append(DecoderScorer(model.decoder, memory, 1.0 - options.ctc_weight))
    scorers += fusion
    ctc = CTCPrefixScorer(model.ctc.log_probs(encoder_out), lens) if options.ctc_weight > 0 else None
    search = JointBeamSearch(scorers, ctc, options, vocab_size=model.vocab_size)
    return search.run([options.max_length(frames) if frames else 0 for frames in lens.tolist()], encoder_out.device)


def text_hypothesis(hyp: BeamHypothesis) -> TokenHypothesis:
    """Without sos, blanks and every eos (at the length limit there may be two)."""
    return TokenHypothesis([i for i in hyp.tokens[1:] if i not in (BLANK_ID, EOS_ID)], hyp.score)


def missing_head(head: str, weight: int, folder: ModelFolder) -> UsageError:
    return UsageError(
        f"this model has no {head} (model_conf ctc_weight: {weight}), which the requested search needs",
        where=str(folder.path),
        hint="change ctc_weight or decoding_mode",
    )
