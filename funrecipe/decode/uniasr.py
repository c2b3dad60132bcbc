"""UniASR: which pass is decoded with which chunks, the beam search of its decoder, what is kept of a hypothesis."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor, nn

from funrecipe.decode.beam_search import BeamHypothesis, BeamOptions, JointBeamSearch, Scorer
from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.language_model import load_fusion
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.paraformer_online import check_shape_index
from funrecipe.decode.scorers import DecoderScorer, LMScorer
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.sanm_chunk import Pass
from funrecipe.models.special_ids import BLANK_ID
from funrecipe.models.uniasr import ScamaDecoder

logger = logging.getLogger(__name__)

GARBAGE = "<gbg>"
DEFAULT_MODE = "normal"
DEFAULT_BEAM_SIZE = 5
# mode -> (index of the chunk shape, pass)
MODES = {"fast": (0, 1), "normal": (0, 2), "offline": (1, 2)}
# how decoding.yaml names the pass; the chunk shape is then decoding_ind
PASSES = {"model1": 1, "model2": 2}


class UniASRSearch:
    """SCAMA beam search in one of three modes.

    ``fast``: first pass, short chunks; ``normal``: second pass, short chunks; ``offline``: second pass, long chunks.
    """

    def __init__(self, model: nn.Module, folder: ModelFolder, options: DecodeOptions) -> None:
        self._model = model
        self._shape_index, self._pass = decoding_mode(options.decoding_mode, options.decoding_ind)
        for encoder in (model.encoder, model.encoder2)[: self._pass]:
            check_shape_index(self._shape_index, len(encoder.chunk_shapes))
        self._options = BeamOptions.of(options, DEFAULT_BEAM_SIZE)
        self._relax = 1 if options.token_num_relax is None else options.token_num_relax
        self._nbest = options.nbest or 1
        self._fusion = load_fusion(folder, options, device=next(model.parameters()).device)
        self._dropped = {BLANK_ID, *(i for i, token in enumerate(folder.tokens) if token == GARBAGE)}

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """See :class:`funrecipe.decode.search.Search`."""
        if self._pass == 1:
            decoder, passed = self._model.decoder, self._model.first_pass(feats, feat_lens, self._shape_index)
        else:
            decoder, passed = self._model.decoder2, self._model.second_pass(feats, feat_lens, self._shape_index)
        nbests = scama_search(decoder, passed, self._options, self._relax, self._fusion)
        return [
            [
                TokenHypothesis([i for i in hyp.tokens[1:-1] if i not in self._dropped], hyp.score)
                for hyp in nbest[: self._nbest]
            ]
            or [TokenHypothesis([], 0.0)]
            for nbest in nbests
        ]


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
    scorers: list[Scorer] = [DecoderScorer(decoder, decoder.memory(passed), 1.0), *fusion]
    search = JointBeamSearch(scorers, None, options, vocab_size=decoder.output_layer.out_features)
    return search.run(limits, passed.encoder_out.device)


def decoding_mode(mode: str | None, shape_index: int | None) -> tuple[int, int]:
    """(index of the chunk shape, number of the pass) of ``decoding_mode`` and ``decoding_ind``.

    Raises:
        UsageError: an unknown mode.
    """
    if mode in PASSES:
        return shape_index or 0, PASSES[mode]
    if mode is not None and mode not in MODES:
        raise UsageError(
            f"unknown decoding mode '{mode}'",
            where="--decoding_mode, decoding_mode in decoding.yaml or param_dict['decoding_model']",
            hint=f"give one of {', '.join(MODES)}",
        )
    usual_index, number = MODES[mode or DEFAULT_MODE]
    if mode is None and shape_index is not None:
        return shape_index, number
    if shape_index not in (None, 0, usual_index):
        logger.warning("decoding_ind=%d is not used: decoding_mode '%s' means %d", shape_index, mode, usual_index)
    return usual_index, number
