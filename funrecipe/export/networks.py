"""Whole recognizers as one traceable function from features to log-probabilities, for export.

What depends on the data (lengths, the number of tokens) is computed in the graph, so batch and time stay dynamic. Names
and order of inputs and outputs are those of FunASR's runtime, by which sherpa-onnx reads them too.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.models.bicif_paraformer import PEAK_SLACK
from funrecipe.models.cif import ROUNDING_SLACK
from funrecipe.models.layers import length_mask
from funrecipe.models.special_ids import BLANK_ID

IMPOSSIBLE = -100.0  # log-probability of all but blank at positions past an utterance's last token


class ExportedParaformer(nn.Module):
    """``speech`` (B, T, F), ``speech_lengths`` (B,) -> ``logits`` (B, U, V) log-probabilities, ``token_num`` (B,).

    Positions past ``token_num`` say blank, so that a client that takes all of a padded batch gets nothing more.
    """

    inputs: ClassVar[tuple[str, ...]] = ("speech", "speech_lengths")
    outputs: ClassVar[tuple[str, ...]] = ("logits", "token_num")

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, ...]:
        encoder_out, lens = self.model.encode(speech, speech_lengths.long())
        embeds, token_num = self.fire(encoder_out, lens)
        log_probs = self.model.decode(encoder_out, lens, embeds, token_num)
        return blank_past(log_probs, token_num), token_num.int()

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

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, ...]:
        encoder_out, lens = self.model.encode(speech, speech_lengths.long())
        embeds, token_num = self.fire(encoder_out, lens)
        log_probs = self.model.decode(encoder_out, lens, embeds, token_num)
        return blank_past(log_probs, token_num), token_num.int(), *self.fine(encoder_out, lens, token_num)

    def fine(self, encoder_out: Tensor, lens: Tensor, token_num: Tensor) -> tuple[Tensor, Tensor]:
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


class ExportedContextualParaformer(ExportedParaformer):
    """Also takes ``bias_embed`` (B, N, D), vectors of hotwords from :class:`ExportedHotwords`, "none" last."""

    inputs: ClassVar[tuple[str, ...]] = ("speech", "speech_lengths", "bias_embed")

    def forward(self, speech: Tensor, speech_lengths: Tensor, bias_embed: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        encoder_out, lens = self.model.encode(speech, speech_lengths.long())
        embeds, token_num = self.fire(encoder_out, lens)
        log_probs = self.model.decode(encoder_out, lens, embeds, token_num, bias_embed)
        return blank_past(log_probs, token_num), token_num.int()


class ExportedSeacoParaformer(ExportedBiCifParaformer):
    """As :class:`ExportedBiCifParaformer` with ``bias_embed`` (B, N, D); all its hotwords are attended to.

    "None" alone means that there are no hotwords, as in ``SeacoParaformer.decode``.
    """

    inputs: ClassVar[tuple[str, ...]] = ("speech", "speech_lengths", "bias_embed")

    def forward(self, speech: Tensor, speech_lengths: Tensor, bias_embed: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        model = self.model
        encoder_out, lens = model.encode(speech, speech_lengths.long())
        embeds, token_num = self.fire(encoder_out, lens)
        hidden = model.decoder.hidden(encoder_out, lens, embeds, token_num)
        log_probs = model.decoder.output_layer(hidden).log_softmax(dim=-1)
        biased = model.bias_logits(embeds, hidden, token_num, bias_embed).log_softmax(dim=-1)
        has_none = biased.argmax(dim=-1, keepdim=True) == model.no_bias_id
        log_probs = torch.where(has_none | (bias_embed.size(1) == 1), log_probs, biased)
        return blank_past(log_probs, token_num), token_num.int(), *self.fine(encoder_out, lens, token_num)


class ExportedHotwords(nn.Module):
    """``hotword`` (N, L) token ids, padded -> ``hw_embed`` (L, N, D); a word's vector is that of its last token."""

    inputs: ClassVar[tuple[str, ...]] = ("hotword",)
    outputs: ClassVar[tuple[str, ...]] = ("hw_embed",)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        own = getattr(model, "bias_embed", None)
        self.embed = model.decoder.embed if own is None or model.use_decoder_embedding else own
        self.encoder = model.bias_encoder

    def forward(self, hotword: Tensor) -> tuple[Tensor, ...]:
        return (self.encoder(self.embed(hotword.long()))[0].transpose(0, 1),)


class ExportedSenseVoice(nn.Module):
    """Also takes the rows ``language`` and ``textnorm`` (B,); gives ``ctc_logits`` (B, T + 4, V) and lengths (B,)."""

    inputs: ClassVar[tuple[str, ...]] = ("speech", "speech_lengths", "language", "textnorm")
    outputs: ClassVar[tuple[str, ...]] = ("ctc_logits", "encoder_out_lens")

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, speech: Tensor, speech_lengths: Tensor, language: Tensor, textnorm: Tensor) -> tuple[Tensor, ...]:
        encoder_out, lens = self.model.encode(speech, speech_lengths.long(), language.long(), textnorm.long())
        return self.model.ctc.log_probs(encoder_out), lens.int()


class ExportedCTC(nn.Module):
    """``speech`` (B, T, F), ``speech_lengths`` (B,) -> ``ctc_logits`` (B, T', V) log-probabilities, lengths."""

    inputs: ClassVar[tuple[str, ...]] = ("speech", "speech_lengths")
    outputs: ClassVar[tuple[str, ...]] = ("ctc_logits", "encoder_out_lens")

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
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
