"""ESResNeXt-fbsp, the audio tower of AudioCLIP: a ResNeXt with attention over its stages.

Names of modules are those of the published checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d, normalize, relu

from umlbench.encoders.audio import fbsp

EXPANSION = 4
KERNELS = ((3, 1), (1, 5), (3, 1), (1, 5))  # of the depthwise convolutions of att1 to att4
LAST_KERNEL = (3, 5)


@dataclass(frozen=True)
class Shape:
    """Sizes of a tower; the defaults are AudioCLIP's (ResNeXt-50 32x4d)."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    stem: int = 64
    groups: int = 32
    group_width: int = 4
    embedding: int = 1024

    def grouped(self, stage: int) -> int:
        """Channels of the 3x3 convolutions of a stage, counted from 0."""
        return self.groups * self.group_width << stage

    def out(self, stage: int) -> int:
        """Channels that a stage, counted from 0, gives out."""
        return EXPANSION * self.stem << stage


SHAPE = Shape()


class Block(nn.Module):
    """1x1, grouped 3x3 (which strides), 1x1, and the way around them."""

    def __init__(self, inside: int, grouped: int, out: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, grouped, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(grouped)
        self.conv2 = nn.Conv2d(grouped, grouped, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(grouped)
        self.conv3 = nn.Conv2d(grouped, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inside != out:
            around = nn.Conv2d(inside, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(around, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) to (B, out, h / stride, w / stride)."""
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        return relu(self.bn3(self.conv3(y)) + self.downsample(x))


class Attention(nn.Module):
    """A gate for a stage's output, from the stage's input."""

    def __init__(self, inside: int, out: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        around = (kernel[0] // 2, kernel[1] // 2)
        self.conv_depth = nn.Conv2d(inside, inside, kernel, padding=around, groups=inside)
        self.conv_point = nn.Conv2d(inside, out, 1)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, inside, h, w) to gates (B, out, *size) between 0 and 1."""
        pooled = adaptive_max_pool2d(x, size)
        gates: Tensor = self.bn(self.conv_point(self.conv_depth(pooled))).sigmoid()
        return gates


class Tower(nn.Module):
    """Clips to embeddings. Call `settle` after loading weights or moving to another precision."""

    window: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.stages = len(shape.blocks)
        self.register_buffer("window", torch.empty(fbsp.WINDOW))
        self.fbsp = fbsp.Fbsp()
        self.conv1 = nn.Conv2d(fbsp.BANDS, shape.stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(shape.stem)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inside = shape.stem
        for stage, count in enumerate(shape.blocks):
            out = shape.out(stage)
            self.add_module(f"layer{stage + 1}", _layer(shape, stage, count, inside))
            self.add_module(f"att{stage + 1}", Attention(inside, out, KERNELS[stage]))
            inside = out
        self.add_module(f"att{self.stages + 1}", Attention(inside, inside, LAST_KERNEL))
        self.fc = nn.Linear(inside, shape.embedding)

    def settle(self) -> Tower:
        """Compute the filter bank where the weights are now, once."""
        for name, part in zip(("kernel_re", "kernel_im"), self.fbsp.kernel(), strict=True):
            self.register_buffer(name, part, persistent=False)
        return self

    def forward(self, waves: Tensor) -> Tensor:
        """Scaled samples (B, n), see `fbsp.scaled`, to embeddings (B, embedding) of length 1."""
        return normalize(self.network(self.spectrogram(waves)), dim=1)

    def spectrogram(self, waves: Tensor) -> Tensor:
        """Scaled samples (B, n) to decibels (B, bands, frequencies, frames)."""
        kernel = (self.get_buffer("kernel_re"), self.get_buffer("kernel_im"))
        return fbsp.log_power(fbsp.frames(waves, self.window), kernel)

    def network(self, decibels: Tensor) -> Tensor:
        """Decibels (B, bands, frequencies, frames) to embeddings (B, embedding) of any length."""
        x = self.maxpool(relu(self.bn1(self.conv1(decibels))))
        for stage in range(1, self.stages + 1):
            y = self.get_submodule(f"layer{stage}")(x)
            x = y * self.get_submodule(f"att{stage}")(x, tuple(y.shape[-2:]))
        y = x.mean((2, 3), keepdim=True)
        gates = self.get_submodule(f"att{self.stages + 1}")(x, (1, 1))
        found: Tensor = self.fc((y * gates).flatten(1))
        return found


def _layer(shape: Shape, stage: int, count: int, inside: int) -> nn.Sequential:
    """A stage; all but the first halve height and width in their first block."""
    out, grouped = shape.out(stage), shape.grouped(stage)
    strides = [1 if stage == 0 else 2] + [1] * (count - 1)
    insides = [inside] + [out] * (count - 1)
    return nn.Sequential(
        *(Block(i, grouped, out, s, shape.groups) for i, s in zip(insides, strides, strict=True))
    )
