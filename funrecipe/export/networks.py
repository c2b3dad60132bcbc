"""Whole recognizers as one traceable function from features to log-probabilities, for export.

What depends on the data (lengths, the number of tokens) is computed in the graph, so batch and time stay dynamic. Names
and order of inputs and outputs are those of FunASR's runtime, by which sherpa-onnx reads them too.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.decode.onnx import HOTWORD_GRAPH
from funrecipe.export.graph import GRAPH, Graph
from funrecipe.models.bicif_paraformer import PEAK_SLACK
from funrecipe.models.cif import ROUNDING_SLACK
from funrecipe.models.layers import length_mask
from funrecipe.models.seaco_paraformer import MAX_HOTWORDS
from funrecipe.models.sense_voice import ITN_ROWS
from funrecipe.models.special_ids import BLANK_ID

TRACED_FRAMES = (61, 40)  # of the two utterances that graphs are traced with; other lengths work as well
IMPOSSIBLE = -100.0  # log-probability of all but blank at positions past an utterance's last token


class ExportedRecognizer(nn.Module):
    """A function of features and lengths, and of what further inputs its class names.

    Attributes:
        inputs, outputs: their names, in order.
    """

    inputs: ClassVar[tuple[str, ...]] = ("speech", "speech_lengths")
    outputs: ClassVar[tuple[str, ...]]

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def further_inputs(self, lens: Tensor) -> list[Tensor]:
        """Inputs beside features and lengths for a batch of ``lens`` (B,)."""
        return []

    def graphs(self, input_size: int) -> dict[str, Graph]:
        """What is written, by file name."""
        lens = torch.tensor(TRACED_FRAMES, dtype=torch.int32)
        feats = torch.zeros(len(lens), TRACED_FRAMES[0], input_size)
        axes = {name: {0: "batch"} for name in (*self.inputs, *self.outputs)}
        axes["speech"][1] = "frames"
        if "bias_embed" in axes:
            axes["bias_embed"][1] = "hotwords"
        for name in set(self.outputs) - {"token_num", "encoder_out_lens"}:
            axes[name][1] = f"{name}_length"
        return {GRAPH: Graph(self, (feats, lens, *self.further_inputs(lens)), self.inputs, self.outputs, axes)}


class ExportedParaformer(ExportedRecognizer):
    """``speech`` (B, T, F), ``speech_lengths`` (B,) -> ``logits`` (B, U, V) log-probabilities, ``token_num`` (B,).

    Positions past ``token_num`` say blank, so that a client that takes all of a padded batch gets nothing more.
    """

    outputs: ClassVar[tuple[str, ...]] = ("logits", "token_num")

    def forward(self, speech: Tensor, speech_lengths: Tensor, *hotwords: Tensor) -> tuple[Tensor, ...]:
        encoder_out, lens = self.model.encode(speech, speech_lengths.long())
        embeds, token_num = self.fire(encoder_out, lens)
        log_probs = self.log_probs(encoder_out, lens, embeds, token_num, *hotwords)
        return blank_past(log_probs, token_num), token_num.int(), *self.times(encoder_out, lens, token_num)

    def log_probs(
        self, encoder_out: Tensor, lens: Tensor, embeds: Tensor, token_num: Tensor, *hotwords: Tensor
    ) -> Tensor:
        """(B, U, V), before blank at positions past ``token_num``."""
        return self.model.decode(encoder_out, lens, embeds, token_num, *hotwords)

    def times(self, encoder_out: Tensor, lens: Tensor, token_num: Tensor) -> tuple[Tensor, ...]:
        """Further outputs, from which clients read the time of every token."""
        return ()

    def fire(self, encoder_out: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """Acoustic embeddings (B, U, D), at least one position, and token numbers (B,) (see ``models.cif``)."""
        predictor = self.model.predictor
        alphas = predictor.alphas(encoder_out, length_mask(lens, encoder_out.size(1)))
        hidden, alphas = F.pad(encoder_out, (0, 0, 0, 1)), F.pad(alphas, (0, 1))
        tail = torch.arange(alphas.size(1), device=lens.device) == lens[:, None]
        alphas = alphas + tail * predictor.tail_threshold
        token_num = torch.floor(alphas.double().sum(dim=1) + ROUNDING_SLACK).long()
        return integrate(hidden, alphas, token_num), token_num


class ExportedBiCifParaformer(ExportedParaformer):
    """Also gives ``us_alphas``, ``us_cif_peak`` (B, K T), from which clients read the time of every token."""

    outputs: ClassVar[tuple[str, ...]] = ("logits", "token_num", "us_alphas", "us_cif_peak")

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        if model.predictor.blstm is not None:
            self.forwards, self.backwards = (
                one_direction(model.predictor.blstm, suffix) for suffix in ("", "_reverse")
            )

    def times(self, encoder_out: Tensor, lens: Tensor, token_num: Tensor) -> tuple[Tensor, ...]:
        """``CifPredictorV3.fine_cif`` with the LSTM's two directions apart, so that padding stays out of the second."""
        predictor = self.model.predictor
        source = predictor.convolve(encoder_out) if predictor.use_cif1_cnn else encoder_out
        fine = predictor.upsample_cnn(source.transpose(1, 2)).transpose(1, 2)
        fine_lens = lens * predictor.upsample_times
        steps = torch.arange(fine.size(1), device=lens.device)[None]
        if predictor.blstm is not None:
            mirrored = torch.where(steps < fine_lens[:, None], fine_lens[:, None] - 1 - steps, steps)[:, :, None]
            back, _ = self.backwards(fine.gather(1, mirrored.expand_as(fine)))
            fine = torch.cat([self.forwards(fine)[0], back.gather(1, mirrored.expand_as(back))], dim=2)
        alphas = torch.sigmoid(predictor.cif_output2(fine)).squeeze(-1)
        alphas = torch.relu(alphas * predictor.smooth_factor2 - predictor.noise_threshold2)
        alphas = alphas * (steps < fine_lens[:, None])
        alphas = alphas * (token_num / alphas.sum(dim=1))[:, None]
        threshold = predictor.threshold - PEAK_SLACK
        sums = alphas.double().cumsum(dim=1)
        fired = torch.floor(sums / threshold + ROUNDING_SLACK)
        return alphas, (sums - F.pad(fired[:, :-1], (1, 0)) * threshold).float()


class WithHotwords(ExportedRecognizer):
    """Takes ``bias_embed`` (B, N, D), vectors of hotwords, which come from a graph of their own."""

    inputs: ClassVar[tuple[str, ...]] = ("speech", "speech_lengths", "bias_embed")

    def further_inputs(self, lens: Tensor) -> list[Tensor]:
        size = self.model.bias_encoder.hidden_size
        return [torch.randn(len(lens), 4, size, generator=torch.Generator().manual_seed(0))]

    def graphs(self, input_size: int) -> dict[str, Graph]:
        words = torch.tensor([[1, 2], [1, 0]], dtype=torch.int32)
        axes = {"hotword": {0: "hotwords", 1: "length"}, "hw_embed": {0: "length", 1: "hotwords"}}
        hotwords = ExportedHotwords(self.model).eval()
        return {
            **super().graphs(input_size),
            HOTWORD_GRAPH: Graph(hotwords, (words,), ("hotword",), ("hw_embed",), axes),
        }


class ExportedContextualParaformer(WithHotwords, ExportedParaformer):
    """Also takes ``bias_embed`` (B, N, D), vectors of hotwords from :class:`ExportedHotwords`, "none" last."""


class ExportedSeacoParaformer(WithHotwords, ExportedBiCifParaformer):
    """As :class:`ExportedBiCifParaformer` with ``bias_embed`` (B, N, D), any number of hotwords.

    "None" alone means that there are no hotwords, as in ``SeacoParaformer.decode``.
    """

    def log_probs(
        self, encoder_out: Tensor, lens: Tensor, embeds: Tensor, token_num: Tensor, *hotwords: Tensor
    ) -> Tensor:
        model, (bias_embed,) = self.model, hotwords
        hidden = model.decoder.hidden(encoder_out, lens, embeds, token_num)
        log_probs = model.decoder.output_layer(hidden).log_softmax(dim=-1)
        chosen, chosen_lens = self.choose_hotwords(hidden, token_num, bias_embed)
        biased = model.bias_logits(embeds, hidden, token_num, chosen, chosen_lens).log_softmax(dim=-1)
        has_none = biased.argmax(dim=-1, keepdim=True) == model.no_bias_id
        return torch.where(has_none | (bias_embed.size(1) == 1), log_probs, biased)

    def choose_hotwords(self, hidden: Tensor, token_num: Tensor, bias_embed: Tensor) -> tuple[Tensor, Tensor]:
        """``SeacoParaformer.choose_hotwords`` without a branch: (B, M, D), and how many of them count, (B,)."""
        scores = self.model.seaco_decoder.attention_to(hidden, token_num, bias_embed)
        best = scores.argsort(dim=1, descending=True)[:, :MAX_HOTWORDS]
        chosen = bias_embed.gather(1, best[:, :, None].expand(-1, -1, bias_embed.size(2)))
        many = torch.full_like(token_num, bias_embed.size(1)) > MAX_HOTWORDS  # then "none" is added to the best
        return torch.cat([chosen, bias_embed[:, -1:]], dim=1), best.size(1) + many.long()


class ExportedHotwords(nn.Module):
    """``hotword`` (N, L) token ids, padded -> ``hw_embed`` (L, N, D); a word's vector is that of its last token."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        own = getattr(model, "bias_embed", None)
        self.embed = model.decoder.embed if own is None or model.use_decoder_embedding else own
        self.encoder = model.bias_encoder

    def forward(self, hotword: Tensor) -> tuple[Tensor, ...]:
        return (self.encoder(self.embed(hotword.long()))[0].transpose(0, 1),)


class ExportedSenseVoice(ExportedRecognizer):
    """Also takes the rows ``language`` and ``textnorm`` (B,); gives ``ctc_logits`` (B, T + 4, V) and lengths (B,)."""

    inputs: ClassVar[tuple[str, ...]] = ("speech", "speech_lengths", "language", "textnorm")
    outputs: ClassVar[tuple[str, ...]] = ("ctc_logits", "encoder_out_lens")

    def further_inputs(self, lens: Tensor) -> list[Tensor]:
        return [torch.zeros_like(lens), torch.full_like(lens, ITN_ROWS["woitn"])]

    def forward(self, speech: Tensor, speech_lengths: Tensor, language: Tensor, textnorm: Tensor) -> tuple[Tensor, ...]:
        encoder_out, lens = self.model.encode(speech, speech_lengths.long(), language.long(), textnorm.long())
        return self.model.ctc.log_probs(encoder_out), lens.int()


class ExportedCTC(ExportedRecognizer):
    """``speech`` (B, T, F), ``speech_lengths`` (B,) -> ``ctc_logits`` (B, T', V) log-probabilities, lengths."""

    outputs: ClassVar[tuple[str, ...]] = ("ctc_logits", "encoder_out_lens")

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        # Convolutions need at least this many frames; more of them, past every length, change nothing.
        self.reach = getattr(getattr(model.encoder, "embed", None), "min_frames", 1)

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, ...]:
        encoder_out, lens = self.model.encode(F.pad(speech, (0, 0, 0, self.reach - 1)), speech_lengths.long())
        return self.model.ctc.log_probs(encoder_out), lens.int()


def integrate(hidden: Tensor, alphas: Tensor, token_num: Tensor) -> Tensor:
    """``models.cif.integrate_and_fire`` as one product: how much of each frame lies in each token's unit of alpha.

    ``hidden`` (B, T, D), ``alphas`` (B, T), none above 1, ``token_num`` (B,) -> (B, max(token_num, 1), D).
    """
    ends = alphas.double().cumsum(dim=1)[:, None]
    starts = F.pad(ends[:, :, :-1], (1, 0))
    tokens = torch.arange(token_num.max().clamp(min=1), device=alphas.device)[None, :, None]
    shares = (torch.minimum(ends, tokens + 1.0) - torch.maximum(starts, tokens.double())).clamp(min=0)
    shares = shares * (tokens < token_num[:, None, None])
    return torch.bmm(shares, hidden.double()).to(hidden.dtype)


def blank_past(log_probs: Tensor, token_num: Tensor) -> Tensor:
    """``log_probs`` (B, U, V) with blank at positions past ``token_num`` (B,)."""
    is_token = torch.arange(log_probs.size(1), device=log_probs.device)[None] < token_num[:, None]
    is_blank = torch.arange(log_probs.size(2), device=log_probs.device) == BLANK_ID
    blank = torch.where(is_blank, 0.0, IMPOSSIBLE)
    return torch.where(is_token[:, :, None], log_probs, blank[None, None])


def one_direction(lstm: nn.LSTM, suffix: str) -> nn.LSTM:
    """One direction of a bidirectional LSTM of one layer, as an LSTM of its own."""
    single = nn.LSTM(lstm.input_size, lstm.hidden_size, batch_first=True)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    single.load_state_dict({name: getattr(lstm, name + suffix).detach() for name in names})
    return single.eval().requires_grad_(False)
