"""Images as the numbers that a model reads. Copied beside the model, which needs no Kaon then.

Imports only what a serving image has: numpy and Pillow. A JPEG or PNG file is decoded to 8 bits a channel, turned as
its EXIF orientation says, laid over white where it is transparent, and scaled. What cannot be decoded, or would take
too much memory, is refused with a sentence.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG")
MAX_PIXELS = 25_000_000
"""Of an image as it is stored. Pillow holds four bytes for each, and up to three copies for a while."""
MAX_SCALED_PIXELS = 4_000_000
"""Of an image that is scaled as a whole before its middle is taken."""
MAX_SCANS = 100
"""Of a JPEG. Each is a pass over all pixels; files have ten at most, unless they are made to keep a reader busy."""
_SCAN = b"\xff\xda"
_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
_SEND = "Send a whole JPEG or PNG file"


class Undecodable(ValueError):
    """A file is no image that is read: what it is (goes after "the file"), and what to do about it."""

    def __init__(self, cause: str, way_out: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.way_out = way_out


def decoded(data: bytes) -> "Image.Image":
    """The image of a JPEG or PNG file: of mode L where it is grey, else RGB.

    CMYK becomes RGB by Pillow's plain formula, 16 bits a channel 8, a palette its colours. Of a JPEG of several
    pictures, as some cameras write, it is the first.

    Raises:
        Undecodable: it is no such file, damaged, animated or too large.
    """
    if not data:
        raise Undecodable("is empty", _SEND)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:
        raise _unknown(data, error) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Undecodable(f"has {width:,} x {height:,} pixels, and {MAX_PIXELS:,} is the limit", "Scale it down")
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise Undecodable("is an animation", "Take one of its pictures")
    if image.format != "PNG" and data.count(_SCAN) > MAX_SCANS:
        raise Undecodable(f"is a JPEG of more than {MAX_SCANS} scans, the limit", "Save it again")
    try:
        image.load()
        return _plain(_turned(image))
    except MemoryError:
        raise
    except Exception as error:
        # Pillow raises what its many decoders do. What it says may hold bytes of the file, so that none is repeated.
        what = "breaks off" if "truncated" in str(error) else "is damaged"
        raise Undecodable(f"{what} behind its header", _SEND) from None


def _unknown(data: bytes, error: Exception) -> Undecodable:
    if isinstance(error, Image.DecompressionBombError):
        return Undecodable(f"has more than {MAX_PIXELS:,} pixels, the limit", "Scale it down")
    if data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        return Undecodable("is damaged in its header", _SEND)
    return Undecodable("is neither JPEG nor PNG", "Save it as one of these")


def _turned(image: "Image.Image") -> "Image.Image":
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:
        # Metadata that cannot be read turns nothing: the pixels are there all the same.
        return image
    return image


def _plain(image: "Image.Image") -> "Image.Image":
    if image.mode.startswith("I"):
        # Grey of 16 bits. Pillow's own conversion cuts off at 255.
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        over = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
        white = Image.new(mode, over.size, "white")
        white.paste(over.convert(mode), mask=over.getchannel("A"))
        return white
    return _as(image, mode)


def _as(image: "Image.Image", mode: str) -> "Image.Image":
    # Pillow would copy what is of that mode already.
    return image if image.mode == mode else image.convert(mode)


class ImageReader:
    """Reads images as a model's card describes it: height, width, channels, and how they are scaled."""

    def __init__(self, form: "Mapping[str, Any]") -> None:
        self.height, self.width, self.channels = form["height"], form["width"], form["channels"]
        self._shortest: int | None = form.get("shortest")
        self._scaled: Sequence[int] | None = form.get("scaled")
        self._resample = _RESAMPLE[form["resample"]]

    def pixels(self, image: "bytes | Image.Image") -> "np.ndarray":
        """A file, or what was decoded of it, as uint8 [channels, height, width].

        Raises:
            Undecodable: it is no image that is read.
        """
        plain = decoded(image) if isinstance(image, bytes) else image
        plain = _as(plain, "L" if self.channels == 1 else "RGB")
        if self._shortest is not None:
            plain = self._middle(plain, self._by_shorter_side(plain.size))
        elif self._scaled is not None:
            plain = self._middle(plain, (self._scaled[1], self._scaled[0]))
        elif plain.size != (self.width, self.height):
            plain = plain.resize((self.width, self.height), self._resample)
        values = np.asarray(plain, dtype=np.uint8)
        return values[None] if self.channels == 1 else np.ascontiguousarray(values.transpose(2, 0, 1))

    def file(self, image: bytes) -> bytes:
        """What the model reads of an image, as a PNG file of its own. Reading that may scale and cut it once more.

        Raises:
            Undecodable: it is no image that is read.
        """
        values = self.pixels(image)
        plain = Image.fromarray(values[0] if self.channels == 1 else values.transpose(1, 2, 0))
        buffer = io.BytesIO()
        plain.save(buffer, "PNG")
        return buffer.getvalue()

    def numbers(self, images: "Sequence[bytes | np.ndarray]") -> "np.ndarray":
        """Files, or pixels [channels, height, width] that were read of them, as float32 from 0 to 255
        [images, channels, height, width].

        Raises:
            Undecodable: one of them is no image that is read.
        """
        read = [image if isinstance(image, np.ndarray) else self.pixels(image) for image in images]
        return np.stack(read).astype(np.float32, copy=False)

    def _by_shorter_side(self, size: "tuple[int, int]") -> "tuple[int, int]":
        """Width and height of the whole image once its shorter side has its length."""
        width, height = size
        shortest = self._shortest or 1
        if width <= height:
            return shortest, max(shortest, int(shortest * height / width))
        return max(shortest, int(shortest * width / height)), shortest

    def _middle(self, image: "Image.Image", scaled: "tuple[int, int]") -> "Image.Image":
        """The middle of the image once it is scaled to this width and height. Beyond its edges it is black."""
        left, top = (scaled[0] - self.width) // 2, (scaled[1] - self.height) // 2
        inside = (max(0, left), max(0, top), min(scaled[0], left + self.width), min(scaled[1], top + self.height))
        if scaled[0] * scaled[1] <= MAX_SCALED_PIXELS:
            part = image.resize(scaled, self._resample).crop(inside)
        else:
            # A narrow image would become one of millions of pixels: only what the middle is made of is scaled.
            across, down = image.width / scaled[0], image.height / scaled[1]
            box = (inside[0] * across, inside[1] * down, inside[2] * across, inside[3] * down)
            part = image.resize((inside[2] - inside[0], inside[3] - inside[1]), self._resample, box=box)
        if part.size == (self.width, self.height):
            return part
        whole = Image.new(image.mode, (self.width, self.height))
        whole.paste(part, (inside[0] - left, inside[1] - top))
        return whole
