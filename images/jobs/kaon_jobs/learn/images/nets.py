"""Builtin networks over images, with weights that begin at random. Each takes images of any size from 8 pixels on.

ResNet-18 (He et al. 2016) and MobileNetV2 (Sandler et al. 2018) are torchvision's. Below 64 pixels their first layers
do not scale down: what they would see is too small (as He et al. do on CIFAR-10).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18

SMALL = 64
"""Pixels of the shorter side, below which the first layers keep the size."""
WIDTHS = (32, 64, 128)
"""Channels of the blocks of the small network."""


class Net(nn.Module):
    """A network as the trainer calls it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Scores [images, classes]. The trainer knows by its name that there are labels; it computes the loss."""
        return {"logits": self.body(pixel_values)}


def build(name: str, channels: int, classes: int, size: int) -> Net:
    """A network by the name of its builtin model. Draws its weights from torch's generator.

    Args:
        channels: 1 or 3.
        size: pixels of each side.
    """
    makers: dict[str, Callable[[int, int, int], nn.Module]] = {"cnn": _cnn, "resnet18": _resnet, "mobilenet": _mobile}
    return Net(makers[name](channels, classes, size))


def _cnn(channels: int, classes: int, size: int) -> nn.Module:
    """Three blocks of two convolutions, each half as large as the one before, and their mean."""
    layers: list[nn.Module] = []
    before = channels
    # Larger images are halved further, so that a last position always sees about an eighth of the side.
    for width in WIDTHS:
        for _ in range(2):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def _resnet(channels: int, classes: int, size: int) -> nn.Module:
    net: Any = resnet18(weights=None, num_classes=classes)
    if size < SMALL:
        net.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        net.maxpool = nn.Identity()
    elif channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return _drawn(net)


def _mobile(channels: int, classes: int, size: int) -> nn.Module:
    net: Any = mobilenet_v2(weights=None, num_classes=classes)
    stride = 1 if size < SMALL else 2
    net.features[0][0] = nn.Conv2d(channels, 32, 3, stride=stride, padding=1, bias=False)
    if size < SMALL:
        # The first of the later layers that scales down.
        net.features[2].conv[1][0].stride = (1, 1)
    return _drawn(net)


def _drawn(net: nn.Module) -> nn.Module:
    """The weights of convolutions drawn as torchvision draws them, those that were put in too."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return net
