"""Images at the ends of what a model may be sent. Every check of a model asks it these too."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def edge_images() -> list[bytes]:
    """One pixel; a line a hundred times as wide as high; 16 bits of grey; half transparent; a JPEG in CMYK."""
    ramp = np.linspace(0, 65535, 144, dtype=np.uint16).reshape(12, 12)
    clear = Image.new("RGBA", (20, 10), (200, 30, 30, 128))
    return [
        _file(Image.new("L", (1, 1), 255), "PNG"),
        _file(Image.new("RGB", (300, 3), (0, 0, 255)), "PNG"),
        _file(Image.fromarray(ramp), "PNG"),
        _file(clear, "PNG"),
        _file(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"),
    ]


def _file(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()
