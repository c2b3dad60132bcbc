"""Exported models (``funrecipe export``) through onnxruntime: the same recognizers, without their networks in torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from funrecipe.decode.ctc_prefix import greedy_search
from funrecipe.decode.hotwords import read_hotwords, spell_hotwords
from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.paraformer import MARKS, greedy
from funrecipe.decode.sense_voice import SenseVoiceSearch
from funrecipe.decode.timestamps import with_fine_times
from funrecipe.errors import UsageError
from funrecipe.model_folder import ModelFolder
from funrecipe.models.onnx import OnnxModel
from funrecipe.models.special_ids import SOS_ID

HOTWORD_GRAPH = "model_eb.onnx"  # FunASR's name
DEFAULT_UPSAMPLE_TIMES = 5


def load_onnx(folder: ModelFolder, precision: str) -> OnnxModel:
    """The graph of an exported folder, or for ``int8`` the quantized one beside it.

    Raises:
        UsageError: a precision that was not exported.
    """
    path = {"fp32": folder.weights, "int8": folder.quantized}.get(precision)
    if path is None:
        raise UsageError(
            f"this folder has no {precision} graph",
            where=str(folder.path),
            hint="use fp32, or int8 after funrecipe export --quantize int8",
        )
    model = OnnxModel(path)
    model.precision = precision  # type: ignore[assignment]  # torch: a tensor or a module
    return model


class OnnxSearch:
    """What the searches of exported models have in common: they are greedy."""

    def __init__(self, model: OnnxModel, folder: ModelFolder, options: DecodeOptions) -> None:
        self.model = model


class OnnxParaformerSearch(OnnxSearch):
    """The best token at every position; the time of every token where the graph gives the fine CIF head."""

    marks: tuple[int, ...] = MARKS

    def __init__(self, model: OnnxModel, folder: ModelFolder, options: DecodeOptions) -> None:
        super().__init__(model, folder, options)
        conf: dict[str, Any] = folder.config.get("predictor_conf") or {}
        upsampled = int(conf.get("upsample_times", DEFAULT_UPSAMPLE_TIMES))
        self.step_s, self.upsampled = 1 / folder.frames_per_second / upsampled, upsampled

    def run(self, feats: Tensor, feat_lens: Tensor) -> list[Tensor]:
        """The outputs of the graph."""
        return self.model(feats, feat_lens)

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """See :class:`funrecipe.decode.search.Search`."""
        log_probs, token_num, *fine = self.run(feats, feat_lens)
        found = [[hypothesis] for hypothesis in greedy(log_probs, token_num.long(), self.marks)]
        return with_fine_times(found, *fine, feat_lens * self.upsampled, self.step_s) if fine else found


class OnnxHotwordSearch(OnnxParaformerSearch):
    """With hotwords, whose vectors come from a graph of their own."""

    def __init__(self, model: OnnxModel, folder: ModelFolder, options: DecodeOptions) -> None:
        super().__init__(model, folder, options)
        words = spell_hotwords(read_hotwords(options.hotword, allow_network=options.allow_network), folder.tokenizer)
        ids = [*words, [SOS_ID]]
        padded = pad_sequence([torch.tensor(word) for word in ids], batch_first=True)
        (vectors,) = OnnxModel(folder.weights.with_name(HOTWORD_GRAPH))(padded)
        self.context = vectors[torch.tensor([len(word) - 1 for word in ids]), torch.arange(len(ids))]

    def run(self, feats: Tensor, feat_lens: Tensor) -> list[Tensor]:
        return self.model(feats, feat_lens, self.context.expand(len(feats), -1, -1))


class OnnxSeacoSearch(OnnxHotwordSearch):
    """The marks of :class:`funrecipe.decode.paraformer.SeacoParaformerSearch`."""

    marks = (*MARKS, SOS_ID)


class OnnxCTCSearch(OnnxSearch):
    """CTC's best path."""

    def decode(self, feats: Tensor, feat_lens: Tensor) -> list[list[TokenHypothesis]]:
        """See :class:`funrecipe.decode.search.Search`."""
        log_probs, lens = self.model(feats, feat_lens)
        return [[TokenHypothesis(ids, score)] for ids, score in greedy_search(log_probs, lens.long())]


class OnnxSenseVoiceSearch(SenseVoiceSearch):
    """SenseVoice, with the log-probabilities of the exported graph."""

    def log_probs(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        rows = (torch.full_like(feat_lens, self.language_row), torch.full_like(feat_lens, self.itn_row))
        log_probs, lens = self.model(feats, feat_lens, *rows)
        return self.banned(log_probs), lens.long()
