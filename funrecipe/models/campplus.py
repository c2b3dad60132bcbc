"""CAM++ speaker embeddings (Wang et al. 2023, arXiv 2303.00332), with the state-dict keys of FunASR's ``CAMPPlus``.

A small 2-D residual network over mel bins and time, a densely connected time-delay network whose layers are gated by
their context (context-aware masking), statistics pooling, one linear layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from funrecipe.models.registry import construct

BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers of a dense block, dilation of their kernels
KERNEL = 3
HEAD_CHANNELS = 32
CONTEXT_FRAMES = 100  # the gate sees the mean of all frames and the mean of its segment of this many
MEL_STEPS = 8  # the head halves the mel axis three times


class NormRelu(nn.Module):
    """Batch normalization and ReLU; FunASR's ``batchnorm-relu``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.batchnorm(x))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions; ``stride`` halves the mel axis only."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            reduce = nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False)
            self.shortcut = nn.Sequential(reduce, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Head(nn.Module):
    """Features (B, D, T) -> (B, 32 * D / 8, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, HEAD_CHANNELS, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(HEAD_CHANNELS)
        self.layer1 = nn.Sequential(ResidualBlock(HEAD_CHANNELS, 2), ResidualBlock(HEAD_CHANNELS, 1))
        self.layer2 = nn.Sequential(ResidualBlock(HEAD_CHANNELS, 2), ResidualBlock(HEAD_CHANNELS, 1))
        self.conv2 = nn.Conv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(HEAD_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x.unsqueeze(1))))
        x = F.relu(self.bn2(self.conv2(self.layer2(self.layer1(x)))))
        return x.flatten(1, 2)


class Tdnn(nn.Module):
    """A strided convolution over time, normalization, ReLU."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(size, channels, 5, stride=2, padding=2, bias=False)
        self.nonlinear = NormRelu(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.linear(x))


class ContextMask(nn.Module):
    """A convolution whose output is gated by its context."""

    def __init__(self, size: int, channels: int, dilation: int) -> None:
        super().__init__()
        padding = (KERNEL - 1) // 2 * dilation
        self.linear_local = nn.Conv1d(size, channels, KERNEL, padding=padding, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(size, size // 2, 1)
        self.linear2 = nn.Conv1d(size // 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        context = x.mean(dim=2, keepdim=True) + segment_means(x)
        return self.linear_local(x) * torch.sigmoid(self.linear2(F.relu(self.linear1(context))))


def segment_means(x: Tensor) -> Tensor:
    """(B, D, T) -> at each frame the mean of its segment of ``CONTEXT_FRAMES``; the last one may be shorter."""
    means = F.avg_pool1d(x, CONTEXT_FRAMES, ceil_mode=True)
    return means.repeat_interleave(CONTEXT_FRAMES, dim=2)[:, :, : x.size(2)]


class DenseLayer(nn.Module):
    """What one layer adds to the channels of a dense block."""

    def __init__(self, size: int, channels: int, bottleneck: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = NormRelu(size)
        self.linear1 = nn.Conv1d(size, bottleneck, 1, bias=False)
        self.nonlinear2 = NormRelu(bottleneck)
        self.cam_layer = ContextMask(bottleneck, channels, dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))


class DenseBlock(nn.ModuleDict):
    """Layers ``tdnnd1``, ``tdnnd2`` ... that each see the outputs of all before."""

    def __init__(self, size: int, growth: int, bottleneck: int, layers: int, dilation: int) -> None:
        super().__init__(
            {f"tdnnd{i + 1}": DenseLayer(size + i * growth, growth, bottleneck, dilation) for i in range(layers)}
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.values():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class Transit(nn.Module):
    """Halves the channels after a dense block."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.nonlinear = NormRelu(size)
        self.linear = nn.Conv1d(size, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.nonlinear(x))


class Dense(nn.Module):
    """Statistics (B, 2C) -> embedding (B, E), normalized without an affine part."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(size, channels, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", nn.BatchNorm1d(channels, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.linear(x.unsqueeze(2)).squeeze(2))


class Statistics(nn.Module):
    """Mean and unbiased standard deviation over time, (B, C, T) -> (B, 2C). One frame has no deviation."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(dim=2), x.std(dim=2, unbiased=True)], dim=1)


class CamPlusPlus(nn.Module):
    """FunASR: CAMPPlus. Features whose mean over time was subtracted -> embeddings.

    Args:
        feat_dim: mel bins, a multiple of 8; embedding_size: E; growth_rate: channels that a dense layer adds;
        bn_size: width of its bottleneck in units of the growth; init_channels: channels of the first layer over time.
    """

    INERT = {"config_str": "batchnorm-relu", "output_level": "segment", "memory_efficient": ...}
    min_frames = 3  # two after the stride of the first layer: fewer have no standard deviation

    def __init__(
        self,
        feat_dim: int = 80,
        embedding_size: int = 192,
        growth_rate: int = 32,
        bn_size: int = 4,
        init_channels: int = 128,
    ) -> None:
        super().__init__()
        if feat_dim % MEL_STEPS:
            raise ValueError(f"CAM++: feat_dim {feat_dim} is not a multiple of {MEL_STEPS}")
        self.feat_dim, self.embedding_size = feat_dim, embedding_size
        self.head = Head()
        layers: dict[str, nn.Module] = {"tdnn": Tdnn(HEAD_CHANNELS * feat_dim // MEL_STEPS, init_channels)}
        channels = init_channels
        for number, (count, dilation) in enumerate(BLOCKS, start=1):
            layers[f"block{number}"] = DenseBlock(channels, growth_rate, bn_size * growth_rate, count, dilation)
            channels += count * growth_rate
            layers[f"transit{number}"] = Transit(channels, channels // 2)
            channels //= 2
        layers |= {
            "out_nonlinear": NormRelu(channels),
            "stats": Statistics(),
            "dense": Dense(2 * channels, embedding_size),
        }
        self.xvector = nn.Sequential()
        for name, layer in layers.items():
            self.xvector.add_module(name, layer)

    def forward(self, feats: Tensor) -> Tensor:
        """``feats`` (B, T, D), all of the same length, at least ``min_frames`` -> (B, E)."""
        return self.xvector(self.head(feats.transpose(1, 2)))


def build_campplus(config: Mapping[str, Any], input_size: int, vocab_size: int) -> CamPlusPlus:
    """The model of a configuration; it has no vocabulary and names its number of mel bins itself."""
    return construct(CamPlusPlus, config.get("model_conf") or {}, "model_conf")
