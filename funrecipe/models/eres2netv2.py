"""ERes2NetV2 speaker embeddings (Chen et al. 2024, arXiv 2406.02167), with the state-dict keys of the released files.

A Res2Net over mel bins and time: each block convolves its channels in groups, one after the other, and from the third
layer on fuses neighboring groups, and at the end the two last layers, by a learned weighting instead of a sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from funrecipe.models.registry import construct

VARIANCE_FLOOR = 1e-8
FUSE_REDUCTION = 4
STRIDES = (1, 2, 2, 2)
PLANES = (1, 2, 4, 8)  # in units of m_channels
FIRST_FUSED_LAYER = 3


class AttentiveFusion(nn.Module):
    """Two maps of the same shape -> their sum, weighted per channel, bin and frame by both of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = channels // FUSE_REDUCTION
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, middle, 1),
            nn.BatchNorm2d(middle),
            nn.SiLU(),
            nn.Conv2d(middle, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        weight = 1.0 + torch.tanh(self.local_att(torch.cat([x, y], dim=1)))
        return x * weight + y * (2.0 - weight)


class Block(nn.Module):
    """1x1 to ``scale`` groups, 3x3 on each with what the one before gave, 1x1 to ``expansion * planes``, shortcut."""

    def __init__(
        self, size: int, planes: int, stride: int, *, base_width: int, scale: int, expansion: int, fused: bool
    ) -> None:
        super().__init__()
        width = int(planes * base_width / 64)
        self.conv1 = nn.Conv2d(size, width * scale, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width * scale)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(scale))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(scale))
        self.fuse_models = nn.ModuleList(AttentiveFusion(width) for _ in range(scale - 1)) if fused else None
        self.conv3 = nn.Conv2d(width * scale, planes * expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * expansion)
        self.shortcut = nn.Sequential()
        if stride != 1 or size != planes * expansion:
            reduce = nn.Conv2d(size, planes * expansion, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(reduce, nn.BatchNorm2d(planes * expansion))

    def forward(self, x: Tensor) -> Tensor:
        groups = clipped_relu(self.bn1(self.conv1(x))).chunk(len(self.convs), dim=1)
        outputs: list[Tensor] = []
        for number, group in enumerate(groups):
            if outputs:
                fuse = None if self.fuse_models is None else self.fuse_models[number - 1]
                group = outputs[-1] + group if fuse is None else fuse(outputs[-1], group)
            outputs.append(clipped_relu(self.bns[number](self.convs[number](group))))
        y = self.bn3(self.conv3(torch.cat(outputs, dim=1)))
        return clipped_relu(y + self.shortcut(x))


def clipped_relu(x: Tensor) -> Tensor:
    return x.clamp(0.0, 20.0)


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over time, (B, C, F, T) -> (B, 2 * C * F)."""

    def forward(self, x: Tensor) -> Tensor:
        deviation = (x.var(dim=3, unbiased=True) + VARIANCE_FLOOR).sqrt()
        return torch.cat([x.mean(dim=3).flatten(1), deviation.flatten(1)], dim=1)


class ERes2NetV2(nn.Module):
    """FunASR: ERes2NetV2. Features whose mean over time was subtracted -> embeddings.

    Args:
        feat_dim: mel bins, a multiple of 8; embedding_size: E; m_channels: channels of the first layer;
        baseWidth, scale, expansion: width and number of the groups of a block, and how much it widens;
        num_blocks: blocks of the four layers; two_emb_layer: a second linear layer after the embedding.
    """

    INERT = {"pooling_func": "TSTP"}
    min_frames = 9  # two after three strides: fewer have no standard deviation

    def __init__(
        self,
        feat_dim: int = 80,
        embedding_size: int = 192,
        m_channels: int = 64,
        baseWidth: int = 26,
        scale: int = 2,
        expansion: int = 2,
        num_blocks: Sequence[int] = (3, 4, 6, 3),
        two_emb_layer: bool = False,
    ) -> None:
        super().__init__()
        if feat_dim % 8 or len(num_blocks) != len(PLANES):
            raise ValueError(
                f"ERes2NetV2: feat_dim {feat_dim} is not a multiple of 8, or num_blocks is not a list of four"
            )
        self.feat_dim, self.embedding_size = feat_dim, embedding_size
        self.conv1 = nn.Conv2d(1, m_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(m_channels)
        size = m_channels
        for number, (factor, count, stride) in enumerate(zip(PLANES, num_blocks, STRIDES), start=1):
            blocks = []
            for i in range(count):
                planes, fused = factor * m_channels, number >= FIRST_FUSED_LAYER
                blocks.append(
                    Block(
                        size, planes, stride if i == 0 else 1,
                        base_width=baseWidth, scale=scale, expansion=expansion, fused=fused,
                    )
                )  # fmt: skip
                size = planes * expansion
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.layer3_ds = nn.Conv2d(size // 2, size, 3, stride=2, padding=1, bias=False)
        self.fuse34 = AttentiveFusion(size)
        self.stats = StatisticsPooling()
        self.seg_1 = nn.Linear(2 * size * (feat_dim // 8), embedding_size)
        self.two_emb_layer = two_emb_layer
        if two_emb_layer:
            self.seg_bn_1 = nn.BatchNorm1d(embedding_size, affine=False)
            self.seg_2 = nn.Linear(embedding_size, embedding_size)

    def forward(self, feats: Tensor) -> Tensor:
        """``feats`` (B, T, D), all of the same length, at least ``min_frames`` -> (B, E)."""
        x = F.relu(self.bn1(self.conv1(feats.transpose(1, 2).unsqueeze(1))))
        third = self.layer3(self.layer2(self.layer1(x)))
        x = self.fuse34(self.layer4(third), self.layer3_ds(third))
        embedding = self.seg_1(self.stats(x))
        return self.seg_2(self.seg_bn_1(F.relu(embedding))) if self.two_emb_layer else embedding


def build_eres2netv2(config: Mapping[str, Any], input_size: int, vocab_size: int) -> ERes2NetV2:
    """The model of a configuration; it has no vocabulary and names its number of mel bins itself."""
    return construct(ERes2NetV2, config.get("model_conf") or {}, "model_conf")
