"""Images of a Dataset while it is made: each is decoded once, its file goes into a scratch file; a row holds where.

So the memory of a row does not depend on its image. Touches a scratch file.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kaon_jobs.budget import ByteCount
from kaon_jobs.data.cells import Reader, Unfit
from kaon_jobs.data.values import kind_of
from kaon_jobs.runtime.image import Undecodable, decoded

MAX_FILE_BYTES = 64 * 1024**2
"""Of an image's file."""
PICTURE_BYTES = 512
"""Of memory for what a row holds of its image."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a row: where its file lies in the scratch file, and what was found in it."""

    offset: int
    length: int
    digest: str
    """Of its size and pixels, as they are decoded: equal for two files of one image."""
    width: int
    height: int
    grey: bool
    brightness: int
    """Mean of all pixels and channels, 0 to 255."""
    form: str
    """JPEG or PNG."""


class Spool:
    """The files of all images, one behind the other, in a scratch file without a name."""

    def __init__(self, folder: Path | None = None, copied: ByteCount | None = None) -> None:
        """
        Args:
            folder: where the scratch file lies; default: the system's own.
            copied: counts its bytes.
        """
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, it lives as long as the rows
        self._end = 0
        self._copied = copied

    def put(self, data: bytes) -> int:
        """Appends a file. Returns where it begins."""
        if self._copied is not None:
            self._copied.add("the images of the Dataset", len(data))
        at = self._end
        self._file.seek(at)
        self._file.write(data)
        self._end += len(data)
        return at

    def get(self, picture: Picture) -> bytes:
        """The file of an image."""
        self._file.seek(picture.offset)
        return self._file.read(picture.length)


def picture_reader(name: str, spool: Spool) -> Reader:
    """Reads the bytes of a JPEG or PNG file, alone or as a record with `bytes` (and `path`), as data sets of Hugging
    Face have it. None is a missing image."""

    def read(value: Any) -> Picture | None:
        data = value
        if isinstance(value, dict):
            data = value.get("bytes")
            if data is None and value.get("path"):
                raise Unfit(
                    f"the column {name!r} holds a path and no bytes", "Write the image's bytes into its field `bytes`."
                )
        if data is None:
            return None
        if not isinstance(data, bytes):
            raise Unfit(
                f"the column {name!r} holds {kind_of(data)}, expected the bytes of an image",
                f"Write the bytes of a JPEG or PNG file into {name!r}.",
            )
        return picture_of(data, spool.put)

    return read


def picture_of(data: bytes, put: Callable[[bytes], int]) -> Picture:
    """What is held of a file.

    Args:
        put: keeps the file, once it is decoded, and says where.

    Raises:
        Unfit: it is no image that is read.
    """
    if len(data) > MAX_FILE_BYTES:
        raise Unfit(f"the file has {len(data):,} bytes, and {MAX_FILE_BYTES:,} is the limit", "Scale the image down.")
    try:
        image = decoded(data)
    except Undecodable as refusal:
        raise Unfit(f"the file {refusal.cause}", f"{refusal.way_out.replace('Send', 'Upload')}.") from None
    return Picture(
        put(data),
        len(data),
        pixels_digest(image),
        image.width,
        image.height,
        image.mode == "L",
        round(float(np.asarray(image.resize((1, 1), Image.Resampling.BOX)).mean())),
        "PNG" if data.startswith(b"\x89PNG") else "JPEG",
    )


def pixels_digest(image: Image.Image) -> str:
    """32 hex digits of SHA-256 over mode, size and pixels of a decoded image."""
    found = hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode())
    found.update(image.tobytes())
    return found.hexdigest()[:32]
