"""SCAMA attention in the joint beam search: the decoder as a scorer of next tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from funrecipe.decode.beam_search import BeamHypothesis, BeamOptions, JointBeamSearch, Scorer
from funrecipe.decode.scorers import LMScorer
from funrecipe.models.uniasr import Pass, ScamaDecoder, ScamaMemory


@dataclass(frozen=True)
class ScamaScorer:
    """The decoder of one pass; every token reads its own acoustic embedding and attention mask."""

    decoder: ScamaDecoder
    memory: ScamaMemory
    weight: float = 1.0
    name: str = "decoder"

    def start(self, batch: int) -> list[Tensor]:
        return self.decoder.start(batch, self.memory.embeds.device)

    def step(self, tokens: Tensor, state: list[Tensor], position: int) -> tuple[Tensor, list[Tensor]]:
        return self.decoder.step(tokens, state, self.memory, position)

    def rows(self, rows: Tensor) -> ScamaScorer:
        return ScamaScorer(self.decoder, self.memory.rows(rows), self.weight)


def scama_search(
    decoder: ScamaDecoder,
    passed: Pass,
    options: BeamOptions,
    token_num_relax: int,
    fusion: Sequence[LMScorer] = (),
) -> list[list[BeamHypothesis]]:
    """Beam search of a batch; every ended hypothesis of each utterance, best first. FunASR: BeamSearchScama.

    A text has at most ``int(token_num + token_num_relax)`` tokens; an utterance in which no token fires has none.
    """
    limits = (passed.cif.token_num + token_num_relax).to(int).masked_fill(passed.token_lens == 0, 0).tolist()
    scorers: list[Scorer] = [ScamaScorer(decoder, decoder.memory(passed)), *fusion]
    search = JointBeamSearch(scorers, None, options, vocab_size=decoder.output_layer.out_features)
    return search.run(limits, passed.encoder_out.device)
