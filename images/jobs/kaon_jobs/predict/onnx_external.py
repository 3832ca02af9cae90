"""Which files beside itself an ONNX model reads, found without opening them. Standard library only; reads one file.

A tensor may lie outside of the model's file, at a path that the model names. onnx and onnxruntime open that path, each
with checks of its own. Here a path that leaves the model's folder is refused before either sees the model.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from kaon_jobs.errors import StageFailure

MAX_FIELDS = 20_000_000
"""Of the whole message. A model of 2 GiB has some hundred thousand."""
MAX_DEPTH = 64
"""Of graphs inside of graphs' nodes, each three messages deep."""

# Message -> field number -> what message it holds (onnx.proto, of IR version 13 and below). Other fields are skipped.
_MESSAGES: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
    "Entry": {},
}
_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Damaged(ValueError):
    pass


def check_external_data(model: Path) -> None:
    """Refuses a model that reads a file outside of its folder, or one that is not there.

    Raises:
        StageFailure: ModelDataOutside, ModelDataMissing or ModelUnreadable.
    """
    try:
        found = sorted(locations(model))
    except _Damaged as error:
        raise StageFailure("ModelUnreadable", f"{model.name} is no whole ONNX file: {error}. Make it again.") from error
    folder = Path(os.path.realpath(model.parent))
    for location in found:
        named = f"{model.name} reads its weights from {_shown(location)!r}"
        posix, windows = PurePosixPath(location), PureWindowsPath(location)
        leaves = posix.is_absolute() or windows.drive or windows.root or ".." in (*posix.parts, *windows.parts)
        if leaves or "\0" in location or not posix.parts:
            raise StageFailure(
                "ModelDataOutside",
                f"{named}, which lies outside of the model's folder. Save the model with its weights in one file.",
            )
        path = folder / location
        if os.path.realpath(path) != str(path):
            raise StageFailure(
                "ModelDataOutside", f"{named}, which is a link. Save the model with its weights in one file."
            )
        if not path.is_file():
            raise StageFailure(
                "ModelDataMissing", f"{named}, which is not there. Save the model with its weights in one file."
            )


def locations(model: Path) -> set[str]:
    """The paths at which the model's tensors lie, as they are written in it.

    Raises:
        ValueError: the file is no such message.
    """
    if not model.stat().st_size:
        raise _Damaged("it is empty")
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return set(_Reader(data).locations())


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._fields = 0

    def locations(self) -> Iterator[str]:
        waiting = [("Model", 0, len(self._data), 0)]
        while waiting:
            message, start, end, depth = waiting.pop()
            if depth > 3 * MAX_DEPTH:
                raise _Damaged(f"its graphs are nested deeper than {MAX_DEPTH} levels, the limit")
            entry: dict[int, str] = {}
            for number, first, last in self._parts(start, end):
                inner = _MESSAGES[message].get(number)
                if inner is not None:
                    waiting.append((inner, first, last, depth + 1))
                elif message == "Entry" and number in (_KEY, _VALUE):
                    entry[number] = self._data[first:last].decode("utf-8", "replace")
            if entry.get(_KEY) == "location":
                yield entry.get(_VALUE, "")

    def _parts(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The fields of a message that hold bytes: number, start and end."""
        at = start
        while at < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise _Damaged(f"it has more than {MAX_FIELDS:,} fields, the limit")
            tag, at = self._varint(at, end)
            kind, number = tag & 7, tag >> 3
            if kind == _VARINT:
                _, at = self._varint(at, end)
            elif kind == _FIXED64:
                at += 8
            elif kind == _FIXED32:
                at += 4
            elif kind == _BYTES:
                length, at = self._varint(at, end)
                if length <= end - at:
                    yield number, at, at + length
                at += length
            else:
                raise _Damaged(f"byte {at:,} begins no field")
            if at > end:
                raise _Damaged(f"a field leaves its message at byte {end:,}")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise _Damaged(f"a number is cut at byte {at:,}")


def _shown(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"
