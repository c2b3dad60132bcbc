"""The x-vectors of FunASR 0.x: a ResNet-34, statistics pooling, linear layers; its state-dict keys.

FunASR: ``ResNet34``, ``ResNet34_SP_L2Reg``, ``StatisticPooling``, ``DenseDecoder`` of task ``sv``. The embedding is the
output of the first linear layer after the pooling; the layers after it classify the speakers of the training set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from funrecipe.errors import UsageError
from funrecipe.models.registry import build_component, construct

NORM_EPS = 1e-3
VARIANCE_FLOOR = 1e-12
TIME_REDUCTION = 8


class ResNetLayer(nn.Module):
    """Two 3x3 convolutions, each after normalization and ReLU; ``stride`` 2 halves time and frequency."""

    def __init__(self, size: int, filters: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(size, eps=NORM_EPS)
        self.conv1 = nn.Conv2d(size, filters, 3, stride, bias=False)
        self.bn2 = nn.BatchNorm2d(filters, eps=NORM_EPS)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        if size != filters or stride != 1:
            self.conv_sc = nn.Conv2d(size, filters, 1, stride, bias=False)
            self.bn_sc = nn.BatchNorm2d(filters, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.bn_sc(self.conv_sc(x)) if hasattr(self, "conv_sc") else x
        x = self.conv1(pad_as_tensorflow(F.relu(self.bn1(x)), self.conv1.stride[0]))
        return self.conv2(F.relu(self.bn2(x))) + shortcut


def pad_as_tensorflow(x: Tensor, stride: int) -> Tensor:
    """Zeros around (B, C, T, F) as TensorFlow's padding "same" puts them for a kernel of 3: fewer in front."""
    if stride == 1:
        return F.pad(x, (1, 1, 1, 1))
    return F.pad(x, (x.size(3) % 2, 1, x.size(2) % 2, 1))


class ResNet34(nn.Module):
    """FunASR: ResNet34. Features (B, T, D) -> maps (B, C, T / 8, D / 8)."""

    INERT = {"batchnorm_momentum": ...}  # of training

    def __init__(
        self,
        input_size: int,
        use_head_conv: bool = True,
        use_head_maxpool: bool = False,
        num_nodes_pooling_layer: int = 256,
        layers_in_block: Sequence[int] = (3, 4, 6, 3),
        filters_in_block: Sequence[int] = (32, 64, 128, 256),
    ) -> None:
        super().__init__()
        size = filters_in_block[0] if use_head_conv else 1
        self.head_maxpool = nn.MaxPool2d(3, 1, padding=1) if use_head_maxpool else nn.Identity()
        self.pre_conv = nn.Conv2d(1, size, 3, padding=1, bias=False) if use_head_conv else None
        self.pre_conv_bn = nn.BatchNorm2d(size, eps=NORM_EPS) if use_head_conv else None
        self.blocks: list[str] = []
        for number, (count, filters) in enumerate(zip(layers_in_block, filters_in_block, strict=True)):
            block = nn.Sequential()
            for i in range(count):
                block.add_module(f"layer_{i}", ResNetLayer(size, filters, 2 if i == 0 and number > 0 else 1))
                size = filters
            self.add_module(f"block_{number}", block)
            self.blocks.append(f"block_{number}")
        self.output_size = num_nodes_pooling_layer
        self.make_output(size, input_size)

    def make_output(self, filters: int, input_size: int) -> None:
        self.resnet0_dense: nn.Module = nn.Conv2d(filters, self.output_size, 1)
        self.resnet0_bn: nn.Module = nn.BatchNorm2d(self.output_size, eps=NORM_EPS)

    def maps(self, feats: Tensor) -> Tensor:
        """Features (B, T, D) -> (B, C, T / 8, D / 8)."""
        x = feats.unsqueeze(1)
        if self.pre_conv is not None and self.pre_conv_bn is not None:
            x = F.relu(self.pre_conv_bn(self.pre_conv(x)))
        x = self.head_maxpool(x)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return x

    def forward(self, feats: Tensor) -> Tensor:
        return self.resnet0_bn(F.relu(self.resnet0_dense(self.maps(feats))))


class ResNet34OverTime(ResNet34):
    """FunASR: ResNet34_SP_L2Reg. The bins become channels before the last layer. (B, T, D) -> (B, C, T / 8)."""

    INERT = {
        **ResNet34.INERT,
        "tf2torch_tensor_name_prefix_torch": ...,
        "tf2torch_tensor_name_prefix_tf": ...,
        "tf_train_steps": ...,
    }

    def make_output(self, filters: int, input_size: int) -> None:
        self.resnet0_dense = nn.Conv1d(filters * input_size // TIME_REDUCTION, self.output_size, 1)
        self.resnet0_bn = nn.BatchNorm1d(self.output_size, eps=NORM_EPS)

    def forward(self, feats: Tensor) -> Tensor:
        maps = self.maps(feats).permute(0, 3, 1, 2).flatten(1, 2)
        return self.resnet0_bn(F.relu(self.resnet0_dense(maps)))


class StatisticsPooling(nn.Module):
    """FunASR: StatisticPooling. Mean and standard deviation over ``pooling_dim``: (B, C, ...) -> (B, 2C)."""

    def __init__(self, pooling_dim: int | Sequence[int] = (2, 3), eps: float = VARIANCE_FLOOR) -> None:
        super().__init__()
        self.dims = (pooling_dim,) if isinstance(pooling_dim, int) else tuple(pooling_dim)
        self.eps = float(eps)

    def forward(self, x: Tensor) -> Tensor:
        variance = x.var(dim=self.dims, unbiased=False).clamp(min=self.eps)
        return torch.cat([x.mean(dim=self.dims), variance.sqrt()], dim=1)


class DenseDecoder(nn.Module):
    """FunASR: DenseDecoder. Statistics -> embedding; the other layers are for training."""

    INERT = {"batchnorm_momentum": ...}

    def __init__(
        self, vocab_size: int, encoder_output_size: int, num_nodes_resnet1: int = 256, num_nodes_last_layer: int = 256
    ) -> None:
        super().__init__()
        self.resnet1_dense = nn.Linear(encoder_output_size, num_nodes_resnet1)
        self.resnet1_bn = nn.BatchNorm1d(num_nodes_resnet1, eps=NORM_EPS)
        self.resnet2_dense = nn.Linear(num_nodes_resnet1, num_nodes_last_layer)
        self.resnet2_bn = nn.BatchNorm1d(num_nodes_last_layer, eps=NORM_EPS)
        self.output_dense = nn.Linear(num_nodes_last_layer, vocab_size, bias=False)

    def forward(self, statistics: Tensor) -> Tensor:
        return self.resnet1_dense(statistics)


class XVector(nn.Module):
    """FunASR: ESPnetSVModel, its embedding."""

    min_frames = 1

    def __init__(self, encoder: ResNet34, pooling: StatisticsPooling, decoder: DenseDecoder, feat_dim: int) -> None:
        super().__init__()
        self.encoder, self.pooling, self.decoder = encoder, pooling, decoder
        self.feat_dim, self.embedding_size = feat_dim, decoder.resnet1_dense.out_features

    def forward(self, feats: Tensor) -> Tensor:
        """``feats`` (B, T, D), all of the same length -> (B, E)."""
        return self.decoder(self.pooling(self.encoder(feats)))


ENCODERS: dict[str, type] = {"resnet34": ResNet34, "resnet34_sp_l2reg": ResNet34OverTime}


def build_xvector(config: Mapping[str, Any], input_size: int, vocab_size: int) -> XVector:
    """The model of an ``sv.yaml``; its vocabulary is the speakers of the training set."""
    for key, value in (("pooling_type", "statistic"), ("decoder", "dense")):
        if config.get(key, value) != value:
            raise UsageError(f"{key} '{config[key]}' is not supported, only '{value}'", where=f"config.yaml: {key}")
    encoder = build_component({"encoder": "resnet34", **config}, "encoder", ENCODERS, input_size=input_size)
    pooling = construct(StatisticsPooling, config.get("pooling_type_conf") or {}, "pooling_type_conf")
    size = 2 * encoder.output_size
    decoder_conf = config.get("decoder_conf") or {}
    decoder = construct(DenseDecoder, decoder_conf, "decoder_conf", vocab_size=vocab_size, encoder_output_size=size)
    return XVector(encoder, pooling, decoder, input_size)
