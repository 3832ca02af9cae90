"""How a base model reads images, by its preprocessor_config.json. Pure, but for reading that file.

The library's own processors would do the same, once for each family; a server does it by runtime/image.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaon.contract.manifest import ImageForm
from kaon_jobs.errors import StageFailure
from kaon_jobs.pretrained.folder import PREPROCESSOR_FILE, read_json

MAX_SIDE = 1024
"""Pixels of a side that a model reads, at most."""
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's numbers."""
_TEXTS_OF = {"do_flip_channel_order": "the order of channels turned round", "do_reduce_labels": "labels less one"}
_CROPPED_BELOW = 384
"""ConvNeXT's processor takes the middle of images that are smaller than that."""
_DEFAULT_SHARE = 224 / 256


@dataclass(frozen=True, slots=True)
class Processor:
    """How images are scaled, and how values from 0 to 255 become what the model computes with."""

    form: ImageForm
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def read_processor(directory: Path, uri: str, channels: int, side: int | None) -> Processor:
    """What the folder says.

    Args:
        channels: that the model's configuration names.
        side: pixels of a side that the recipe asks for in place of the folder's.

    Raises:
        StageFailure: ModelUnreadable, for what is not there, not of its form, or not supported.
    """
    content = read_json(directory / PREPROCESSOR_FILE, uri)
    if not isinstance(content, dict):
        raise _unreadable(uri, f"is a JSON {type(content).__name__}, expected an object")
    if channels not in (1, 3):
        raise StageFailure(
            "ModelUnreadable",
            f"config.json at {uri} has num_channels {channels}, and images have 1 or 3. Use another base model.",
        )
    for name, what in _TEXTS_OF.items():
        if content.get(name):
            raise _unreadable(uri, f"has {name}, {what}, which is not supported")
    return Processor(_form(content, uri, channels, side), *_scale(content, uri, channels))


def _form(content: dict[str, Any], uri: str, channels: Any, side: int | None) -> ImageForm:
    if content.get("do_resize") is False:
        raise _unreadable(uri, "has do_resize false, so that its images have no size")
    resample = content.get("resample")
    if not isinstance(resample, int) or not 0 <= resample < len(_RESAMPLE):
        raise _unreadable(uri, "has no resample from 0 to 5, which says how images are scaled")
    size, crops = content.get("size"), content.get("do_center_crop") is True
    if "crop_pct" in content and isinstance(size, dict) and "shortest_edge" in size:
        # ConvNeXT's own rule.
        target = side or _side(size["shortest_edge"], uri, "size")
        share = content["crop_pct"] if _is_number(content["crop_pct"]) else _DEFAULT_SHARE
        if not 0.1 <= share <= 1:
            raise _unreadable(uri, "has a crop_pct that is no share from 0.1 to 1")
        shortest = int(target / share) if target < _CROPPED_BELOW else None
        return ImageForm(
            height=target, width=target, channels=channels, shortest=shortest, resample=_RESAMPLE[resample]
        )
    crop = _sides(content.get("crop_size"), uri, "crop_size") if crops else None
    if isinstance(size, dict) and "shortest_edge" in size and "longest_edge" not in size:
        shortest = _side(size["shortest_edge"], uri, "size")
        if crop is None:
            raise _unreadable(uri, "scales the shorter side alone (size.shortest_edge) and takes no middle of a size")
        if side is not None:
            shortest, crop = round(shortest * side / min(crop)), (side, side)
        return ImageForm(
            height=crop[0], width=crop[1], channels=channels, shortest=shortest, resample=_RESAMPLE[resample]
        )
    scaled = _sides(size, uri, "size")
    if crop is not None and crop != scaled:
        if side is not None:
            scaled = (round(scaled[0] * side / crop[0]), round(scaled[1] * side / crop[1]))
            crop = (side, side)
        return ImageForm(
            height=crop[0], width=crop[1], channels=channels, scaled=list(scaled), resample=_RESAMPLE[resample]
        )
    height, width = (side, side) if side is not None else scaled
    return ImageForm(height=height, width=width, channels=channels, resample=_RESAMPLE[resample])


def _scale(content: dict[str, Any], uri: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    factor = 1.0
    if content.get("do_rescale") is not False:
        factor = content.get("rescale_factor", 1 / 255)
        if not _is_number(factor) or not factor > 0:
            raise _unreadable(uri, "has a rescale_factor that is no number above 0")
    mean, deviation = [0.0] * channels, [1.0] * channels
    if content.get("do_normalize") is not False:
        mean, deviation = (_values(content.get(name), uri, name, channels) for name in ("image_mean", "image_std"))
        if not all(value > 0 for value in deviation):
            raise _unreadable(uri, "has an image_std that is not above 0")
    return tuple(value / factor for value in mean), tuple(value / factor for value in deviation)


def _values(found: Any, uri: str, name: str, channels: int) -> list[float]:
    values = [found] * channels if _is_number(found) else found
    if not isinstance(values, list) or len(values) != channels or not all(map(_is_number, values)):
        raise _unreadable(uri, f"has no {name} of {channels} numbers")
    return [float(value) for value in values]


def _sides(found: Any, uri: str, name: str) -> tuple[int, int]:
    if isinstance(found, dict) and {"height", "width"} <= found.keys():
        return _side(found["height"], uri, name), _side(found["width"], uri, name)
    if isinstance(found, int):
        return _side(found, uri, name), _side(found, uri, name)
    raise _unreadable(uri, f"has no {name} with height and width")


def _side(found: Any, uri: str, name: str) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= MAX_SIDE:
        raise _unreadable(uri, f"has a {name} that is no number of pixels from 1 to {MAX_SIDE:,}")
    return found


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)


def _unreadable(uri: str, what: str) -> StageFailure:
    return StageFailure(
        "ModelUnreadable",
        f"{PREPROCESSOR_FILE} at {uri} {what}. Upload the one that belongs to the model, as save_pretrained() writes "
        "it.",
    )
