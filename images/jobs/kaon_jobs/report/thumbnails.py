"""Small pictures of images for pages, as data URIs of PNG files, so that a page needs nothing beside itself. Pure."""

from __future__ import annotations

import base64
import io

from PIL import Image

from kaon_jobs.runtime.image import decoded

SIDE = 48
"""Pixels of the longer side, at most; a thumbnail has 7 kB of colour at most, and an eighth more in base64."""


def thumbnail(data: bytes) -> str:
    """The data URI of a small PNG of an image's file, which was decoded before."""
    image = decoded(data)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    # A new image has none of the file's metadata.
    plain = Image.frombytes(image.mode, image.size, image.tobytes())
    buffer = io.BytesIO()
    plain.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
