"""FSMN-VAD: a small causal network that gives the probability of each kind of sound for every frame.

Source: Zhang et al. 2018, "Deep-FSMN for Large Vocabulary Continuous Speech Recognition"; state-dict keys and
arithmetic of ``funasr.models.encoder.fsmn_encoder.FSMN`` (0.8.8). What follows the network (segments) is
``funrecipe.vad``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from funrecipe.models.layers import depthwise_conv
from funrecipe.models.registry import build_component


class Affine(nn.Module):
    """A linear layer under FunASR's key ``linear``."""

    def __init__(self, input_size: int, output_size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, output_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class LeftMemory(nn.Module):
    """The frame plus a weighted sum of it and the ``order - 1`` frames before it. Key ``conv_left.weight``."""

    def __init__(self, size: int, order: int) -> None:
        super().__init__()
        self.conv_left = nn.Conv2d(size, size, (order, 1), groups=size, bias=False)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` (B, T, D), ``past`` (B, order - 1, D) -> (B, T, D) and the past of the next frames."""
        seen = torch.cat((past, x), dim=1)
        return x + depthwise_conv(seen, self.conv_left.weight.squeeze(-1)), seen[:, seen.size(1) - past.size(1) :]


class FsmnBlock(nn.Module):
    """Projection without bias, memory, projection back, ReLU."""

    def __init__(self, size: int, proj_size: int, order: int) -> None:
        super().__init__()
        self.linear = Affine(size, proj_size, bias=False)
        self.fsmn_block = LeftMemory(proj_size, order)
        self.affine = Affine(proj_size, size)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        remembered, past = self.fsmn_block(self.linear(x), past)
        return torch.relu(self.affine(remembered)), past


class Fsmn(nn.Module):
    """Features -> posteriors of ``output_dim`` classes. Arguments carry the names of ``encoder_conf``.

    The network is causal, so padding past the length of an utterance changes nothing before it.
    """

    INERT = {"rorder": 0, "rstride": ..., "lstride": 1}

    def __init__(
        self,
        input_dim: int,
        input_affine_dim: int,
        fsmn_layers: int,
        linear_dim: int,
        proj_dim: int,
        lorder: int,
        output_affine_dim: int,
        output_dim: int,
    ) -> None:
        super().__init__()
        self.proj_size, self.past_frames = proj_dim, lorder - 1
        self.in_linear1 = Affine(input_dim, input_affine_dim)
        self.in_linear2 = Affine(input_affine_dim, linear_dim)
        self.fsmn = nn.ModuleList([FsmnBlock(linear_dim, proj_dim, lorder) for _ in range(fsmn_layers)])
        self.out_linear1 = Affine(linear_dim, output_affine_dim)
        self.out_linear2 = Affine(output_affine_dim, output_dim)

    def start(self, batch_size: int = 1) -> list[Tensor]:
        """The memory before the first frame: (B, lorder - 1, proj_dim) zeros per block."""
        like = self.in_linear1.linear.weight
        return [like.new_zeros(batch_size, self.past_frames, self.proj_size) for _ in self.fsmn]

    def forward(self, feats: Tensor, memory: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """``feats`` (B, T, input_dim) -> posteriors (B, T, output_dim) and the memory for the frames that follow.

        Args:
            memory: what the call for the preceding frames returned; None at the start.
        """
        logits, after = self.logits(feats, memory)
        return torch.softmax(logits, dim=-1), after

    def logits(self, feats: Tensor, memory: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """As :meth:`forward`, before softmax."""
        x = torch.relu(self.in_linear2(self.in_linear1(feats)))
        after = []
        for block, past in zip(self.fsmn, memory or self.start(feats.size(0)), strict=True):
            x, past = block(x, past)
            after.append(past)
        return self.out_linear2(self.out_linear1(x)), after


class FsmnVad(nn.Module):
    """The network under the key ``encoder``, as released weights have it (older files lack the prefix).

    Attributes:
        silence_ids: the classes that are silence.
    """

    key_prefix = "encoder."

    def __init__(self, encoder: Fsmn, silence_ids: Sequence[int] = (0,)) -> None:
        super().__init__()
        self.encoder, self.silence_ids = encoder, list(silence_ids)

    def start(self) -> list[Tensor]:
        """As :meth:`Fsmn.start`, of one recording."""
        return self.encoder.start()

    def forward(self, feats: Tensor, memory: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """As :meth:`Fsmn.forward`."""
        return self.encoder(feats, memory)


def build_fsmn_vad(config: Mapping[str, Any], input_size: int, vocab_size: int) -> FsmnVad:
    """The network of ``encoder_conf``.

    Raises:
        ValueError: its ``input_dim`` is not what the front-end makes, or a class of ``sil_pdf_ids`` does not exist.
    """
    encoder = build_component(config, "encoder", {"fsmn": Fsmn})
    wanted = encoder.in_linear1.linear.in_features
    if config.get("frontend_conf") and wanted != input_size:
        raise ValueError(f"encoder_conf: input_dim is {wanted}, but the front-end produces {input_size} columns")
    silence_ids = (config.get("vad_post_conf") or {}).get("sil_pdf_ids") or (0,)
    classes = encoder.out_linear2.linear.out_features
    if max(silence_ids) >= classes:
        raise ValueError(f"sil_pdf_ids is {silence_ids}, but the network has {classes} classes")
    return FsmnVad(encoder, silence_ids)
