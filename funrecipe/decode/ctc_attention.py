"""Recognition with Conformer and Transformer CTC/attention models."""

from __future__ import annotations

from torch import Tensor

from funrecipe.decode.beam_search import BeamHypothesis, BeamOptions, JointBeamSearch, Scorer
from funrecipe.decode.ctc_prefix import CTCPrefixScorer
from funrecipe.decode.scorers import DecoderScorer, lm_scorers
from funrecipe.models.ctc_attention import CTCAttentionModel
from funrecipe.models.lm import LanguageModel


def joint_search(
    model: CTCAttentionModel, encoder_out: Tensor, lens: Tensor, options: BeamOptions, *,
    lm: LanguageModel | None = None, lm_weight: float = 0.0,
) -> list[list[BeamHypothesis]]:
    """Joint CTC/attention/LM beam search of a batch: every ended hypothesis of each utterance, best first.

    encoder_out: (B, T, D), lens: (B,).
    """
    scorers: list[Scorer] = []
    if options.ctc_weight < 1.0:
        memory = model.decoder.memory(encoder_out, lens)
        scorers.append(DecoderScorer(model.decoder, memory, 1.0 - options.ctc_weight))
    scorers += lm_scorers(lm, lm_weight)
    ctc = CTCPrefixScorer(model.ctc_log_probs(encoder_out), lens, model.eos_id) if options.ctc_weight > 0 else None
    search = JointBeamSearch(scorers, ctc, options, vocab_size=model.vocab_size)
    frames = lens.tolist()
    max_lengths = [options.max_length(n) if n else 0 for n in frames]
    return search.run(max_lengths, [int(options.minlenratio * n) for n in frames], encoder_out.device)
