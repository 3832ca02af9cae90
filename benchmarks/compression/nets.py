"""The plain networks of the benchmark, as torch modules: ResNet-18 and MobileNetV2 for small grey images, an MLP.

Trained by trained.py, and built again by the peers that want torch. Needs torch alone.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

STATE_FILE = "state.pt"


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., "Deep Residual Learning for Image Recognition", 2015)."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        same = stride == 1 and width_in == width
        self.shortcut: nn.Module = nn.Identity()
        if not same:
            self.shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.activation = nn.ReLU()

    def forward(self, values: Tensor) -> Tensor:
        """See nn.Module."""
        out: Tensor = self.activation(self.convolutions(values) + self.shortcut(values))
        return out


class ResNet18(nn.Module):
    """The 18-layer form with its 7x7 stem, for images of one channel."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        widths = (64, 64, 128, 256, 512)
        blocks = [
            block
            for stage, (before, width) in enumerate(pairwise(widths))
            for block in (Block(before, width, 1 if stage == 0 else 2), Block(width, width, 1))
        ]
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(512, classes)

    def forward(self, image: Tensor) -> Tensor:
        """See nn.Module."""
        scores: Tensor = self.head(self.pool(self.blocks(self.stem(image))))
        return scores


class Inverted(nn.Module):
    """Wider, filtered channel by channel, and narrow again (Sandler et al., "MobileNetV2", CVPR 2018)."""

    def __init__(self, width_in: int, width: int, stride: int, times: int) -> None:
        super().__init__()
        inner = width_in * times
        wider = [nn.Conv2d(width_in, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6()] if times > 1 else []
        self.layers = nn.Sequential(
            *wider,
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.adds = stride == 1 and width_in == width

    def forward(self, values: Tensor) -> Tensor:
        """See nn.Module."""
        made: Tensor = self.layers(values)
        return values + made if self.adds else made


class MobileNetV2(nn.Sequential):
    """With its published widths; its second stage keeps the resolution, since the images are small."""

    STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    """(times wider inside, width, blocks, stride of the first)."""

    def __init__(self, classes: int) -> None:
        blocks, before = [], 32
        for times, width, count, stride in self.STAGES:
            for index in range(count):
                blocks.append(Inverted(before, width, stride if index == 0 else 1, times))
                before = width
        super().__init__(
            nn.Conv2d(1, 32, 3, 2, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
            *blocks,
            nn.Conv2d(before, 1280, 1, bias=False),
            nn.BatchNorm2d(1280),
            nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(1280, classes),
        )


class Mlp(nn.Sequential):
    """Three hidden layers of 512."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(
            nn.Linear(features, 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, classes),
        )


def build(name: str, classes: int, features: int) -> nn.Module:
    """The untrained network of an image or table case by its name; `features` is the table's width."""
    match name:
        case "mnist":
            return ResNet18(classes)
        case "mobile":
            return MobileNetV2(classes)
        case "cancer":
            return Mlp(features, classes)
    raise ValueError(f"no network is known for the case {name!r}")


def load(folder: Path, name: str, classes: int, features: int) -> nn.Module:
    """The trained network, in evaluation mode."""
    network = build(name, classes, features)
    network.load_state_dict(torch.load(folder / STATE_FILE, weights_only=True))
    return network.eval()
