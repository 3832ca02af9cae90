"""What a network learns from: images as pixels, decoded once where memory has room for all, moved while it trains.

An image is moved by a draw from seed, epoch and row alone, so that a resumed training sees what it would have seen.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from kaon_jobs.data.splits import Rows
from kaon_jobs.learn.loop import Material, Shuffled
from kaon_jobs.machine import memory_limit, memory_used
from kaon_jobs.runtime.image import FORMATS, ImageReader

MOVED = 1 / 14
"""Of an image's side: as far as it is moved, each way. As compression's views of images are."""
LARGEST_SIDE, SMALLEST_SIDE = 128, 8
"""Pixels of a side that is chosen by the data."""
STATISTICS_ROWS = 10_000
"""Training images whose mean and deviation are taken."""
_MEMORY_SHARE = 0.3
"""Of the memory that is left, for decoded images."""
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B")

Pixels = NDArray[np.uint8]
Augmentation = Literal["none", "shift", "shift-flip"]


@dataclass(frozen=True, slots=True)
class Scale:
    """How values from 0 to 255 become what a network computes with: less the mean, by the deviation, by channel."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation, [channels, 1, 1]."""
        return tuple(torch.tensor(values).reshape(-1, 1, 1) for values in (self.mean, self.deviation))  # type: ignore[return-value]


def suited(files: Sequence[bytes]) -> tuple[int, int]:
    """Channels and pixels of a side for such images: grey where all are, and the middle longer side within bounds."""
    sides, grey = [], True
    for data in files:
        # The header alone.
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            sides.append(max(image.size))
            grey = grey and image.mode in _GREY
    return (1 if grey else 3), min(LARGEST_SIDE, max(SMALLEST_SIDE, int(np.median(sides))))


class Images:
    """Rows as the trainer reads them: `pixel_values`, uint8 [channels, height, width], and `labels`."""

    def __init__(self, rows: Rows, reader: ImageReader) -> None:
        self.reader = reader
        self._rows = rows
        self._held: Pixels | None = None
        size = len(rows) * reader.channels * reader.height * reader.width
        if size <= _MEMORY_SHARE * (memory_limit() - memory_used()):
            self._held = np.empty((len(rows), reader.channels, reader.height, reader.width), np.uint8)
            for row, data in enumerate(rows.inputs):
                self._held[row] = reader.pixels(data)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int, /) -> dict[str, Any]:
        return {"pixel_values": self.pixels(row), "labels": int(self._rows.targets[row])}

    def pixels(self, row: int) -> Pixels:
        """Of one row."""
        found: Pixels = self._held[row] if self._held is not None else self.reader.pixels(self._rows.inputs[row])
        return found

    def scale(self) -> Scale:
        """Mean and deviation of each channel, over at most STATISTICS_ROWS rows at equal distances."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(len(self), STATISTICS_ROWS)).astype(int))
        sums = np.zeros((2, self.reader.channels))
        for row in chosen:
            values = self.pixels(row).astype(np.float64).reshape(self.reader.channels, -1)
            sums += values.mean(axis=1), (values**2).mean(axis=1)
        mean, squares = sums / len(chosen)
        deviation = np.sqrt(np.maximum(squares - mean**2, 1.0))
        return Scale(tuple(mean.tolist()), tuple(deviation.tolist()))


class Moved(Images):
    """The same, each image moved anew in each epoch."""

    def __init__(self, images: Images, rows: Rows, how: Augmentation, seed: int, order: Shuffled) -> None:
        self._images, self._rows, self._how, self._seed, self._order = images, rows, how, seed, order
        self.reader = images.reader

    def pixels(self, row: int) -> Pixels:
        """Of one row, in the epoch that goes on."""
        draw = np.random.Generator(np.random.PCG64([self._seed, self._order.epoch, row]))
        return moved(self._images.pixels(row), draw, flip=self._how == "shift-flip")


def moved(pixels: Pixels, draw: np.random.Generator, *, flip: bool) -> Pixels:
    """An image moved by up to a fourteenth of its longer side each way, its edge repeated.

    Args:
        pixels: [channels, height, width]
        flip: mirror half of them, left and right.
    """
    height, width = pixels.shape[1:]
    most = max(1, round(max(height, width) * MOVED))
    down, right = draw.integers(2 * most + 1, size=2)
    padded = np.pad(pixels, ((0, 0), (most, most), (most, most)), mode="edge")
    found = padded[:, down : down + height, right : right + width]
    return found[:, :, ::-1] if flip and draw.integers(2) else found


def material(
    train: Images,
    rows: Rows,
    validation: Images,
    scale: Scale,
    *,
    how: Augmentation,
    batch_size: int,
    seed: int,
    classes: int,
) -> Material:
    """Images as a network learns from them.

    Args:
        rows: those of `train`.
    """
    order = Shuffled(len(rows), batch_size, seed)
    mean, deviation = scale.tensors()

    def collate(batch: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        values = torch.from_numpy(np.stack([row["pixel_values"] for row in batch]))
        return {
            "pixel_values": (values.float() - mean) / deviation,
            "labels": torch.tensor([row["labels"] for row in batch]),
        }

    seen = train if how == "none" else Moved(train, rows, how, seed, order)
    return Material(seen, validation, collate, order, rows.targets, classes)
