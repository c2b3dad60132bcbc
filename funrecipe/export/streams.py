"""Networks that work piece by piece, for export: their caches are inputs and outputs, as in FunASR's runtime."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from funrecipe.decode.onnx_online import DECODER_GRAPH
from funrecipe.errors import UsageError
from funrecipe.export.graph import GRAPH, Graph
from funrecipe.models.fsmn_vad import FsmnVad
from funrecipe.models.layers import depthwise_conv, length_mask
from funrecipe.models.paraformer_online import ParaformerOnline
from funrecipe.models.sanm import SANMDecoderLayer, attend


class ExportedVad(nn.Module):
    """``speech`` (B, T, F), ``in_cacheN`` (B, P, L, 1) per block -> ``logits`` (B, T, C) posteriors, ``out_cacheN``."""

    def __init__(self, model: FsmnVad) -> None:
        super().__init__()
        self.model = model

    def forward(self, speech: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        posteriors, after = self.model(speech, [cache.squeeze(3).transpose(1, 2) for cache in caches])
        return posteriors, *(memory.transpose(1, 2).unsqueeze(3) for memory in after)

    def graphs(self, input_size: int) -> dict[str, Graph]:
        """What is written, by file name."""
        caches = [memory.transpose(1, 2).unsqueeze(3) for memory in self.model.start()]
        inputs = ["speech", *(f"in_cache{i}" for i in range(len(caches)))]
        outputs = ["logits", *(f"out_cache{i}" for i in range(len(caches)))]
        axes = {name: {0: "batch"} for name in (*inputs, *outputs)}
        axes["speech"][1] = axes["logits"][1] = "frames"
        return {GRAPH: Graph(self, (torch.zeros(1, 30, input_size), *caches), inputs, outputs, axes)}


class ExportedParaformerOnline(nn.Module):
    """Two graphs: a window through the encoder, and its tokens through the decoder, whose memories are caches.

    Between the two, clients integrate and fire. They also scale the features and add the positions.

    Raises:
        UsageError: decoder memories that look ahead, which no cache can hold.
    """

    def __init__(self, model: ParaformerOnline) -> None:
        super().__init__()
        self.encoder, self.decoder = OnlineEncoder(model), OnlineDecoder(model)
        memories = [layer.self_attn.fsmn_block for layer in self.decoder.layers()]
        if any(memory.left_right[1] for memory in memories):
            raise UsageError("sanm_shfit lets the decoder look ahead", where="config.yaml: decoder_conf: sanm_shfit",
                             hint="give a model where it is (kernel_size - 1) / 2")  # fmt: skip

    def graphs(self, input_size: int) -> dict[str, Graph]:
        """What is written, by file name."""
        return {GRAPH: self.encoder.graph(input_size), DECODER_GRAPH: self.decoder.graph()}


class OnlineEncoder(nn.Module):
    """``speech`` (B, T, F) with positions, ``speech_lengths`` -> ``enc`` (B, T, D), ``enc_len``, ``alphas`` (B, T)."""

    def __init__(self, model: ParaformerOnline) -> None:
        super().__init__()
        self.encoder, self.predictor = model.encoder, model.predictor

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, ...]:
        mask = length_mask(speech_lengths, speech.size(1))
        enc = self.encoder.run_blocks(speech, mask) * mask[:, :, None]
        return enc, speech_lengths, self.predictor.alphas(enc, mask)

    def graph(self, input_size: int) -> Graph:
        example = (torch.zeros(2, 20, input_size), torch.tensor([20, 15], dtype=torch.int32))
        inputs, outputs = ("speech", "speech_lengths"), ("enc", "enc_len", "alphas")
        axes = {name: {0: "batch"} for name in (*inputs, *outputs)}
        for name in ("speech", "enc", "alphas"):
            axes[name][1] = "frames"
        return Graph(self, example, inputs, outputs, axes)


class OnlineDecoder(nn.Module):
    """``enc``, ``enc_len``, ``acoustic_embeds`` (B, U, D), its lengths, ``in_cache_N`` (B, D, K - 1) per memory
    -> ``logits`` (B, U, V) log-probabilities, ``sample_ids`` (B, U), ``out_cache_N``."""

    def __init__(self, model: ParaformerOnline) -> None:
        super().__init__()
        self.decoder = model.decoder

    def layers(self) -> list[SANMDecoderLayer]:
        """Those with a memory, in order."""
        return [*self.decoder.decoders, *getattr(self.decoder, "decoders2", ())]

    def forward(
        self, enc: Tensor, enc_len: Tensor, acoustic_embeds: Tensor, acoustic_embeds_len: Tensor, *caches: Tensor
    ) -> tuple[Tensor, ...]:
        x, after = acoustic_embeds, []
        frames = length_mask(enc_len, enc.size(1))[:, None, None]
        tokens = length_mask(acoustic_embeds_len, x.size(1))[:, :, None]
        for layer, cache in zip(self.layers(), caches):
            transformed = layer.transform(x) * tokens
            context = torch.cat((cache.transpose(1, 2), transformed), dim=1)
            after.append(context[:, context.size(1) - cache.size(2) :].transpose(1, 2))
            x = x + depthwise_conv(context, layer.self_attn.fsmn_block.weight) + transformed
            if layer.src_attn is not None:
                cross = layer.src_attn
                key, value = cross.linear_k_v(enc).chunk(2, dim=-1)
                attended = attend(cross.linear_q(layer.norm3(x)), key, value, cross.heads, frames)
                x = x + cross.linear_out(attended)
        x = self.decoder.decoders3[0].transform(x)
        log_probs = self.decoder.output_layer(self.decoder.after_norm(x)).log_softmax(dim=-1)
        return log_probs, log_probs.argmax(dim=-1), *after

    def graph(self) -> Graph:
        size = self.decoder.after_norm.weight.numel()
        caches = [torch.zeros(2, size, layer.self_attn.fsmn_block.kernel_size[0] - 1) for layer in self.layers()]
        lens = [torch.tensor(value, dtype=torch.int32) for value in ([20, 15], [4, 3])]
        example = (torch.zeros(2, 20, size), lens[0], torch.zeros(2, 4, size), lens[1], *caches)
        cache_names = [[f"{kind}_cache_{i}" for i in range(len(caches))] for kind in ("in", "out")]
        inputs = ["enc", "enc_len", "acoustic_embeds", "acoustic_embeds_len", *cache_names[0]]
        outputs = ["logits", "sample_ids", *cache_names[1]]
        axes = {name: {0: "batch"} for name in (*inputs, *outputs)}
        axes["enc"][1] = "enc_length"
        for name in ("acoustic_embeds", "logits", "sample_ids"):
            axes[name][1] = "token_length"
        return Graph(self, example, inputs, outputs, axes)
