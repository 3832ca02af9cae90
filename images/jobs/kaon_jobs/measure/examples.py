"""Examples on their way to a child process's standard input.

Texts go with NUL between them, rows of a table as JSON, files of images each behind its length, arrays as .npy.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

_MAGIC = b"\x93NUMPY"
_ROWS = b"\xffROWS"
_FILES = b"\xffFILES"
"""These begin as no text in UTF-8 does."""
_LENGTH = 8


def packed(examples: Sequence[Any]) -> bytes:
    """The bytes of at least one example."""
    if isinstance(examples[0], str):
        return "\0".join(examples).encode()
    if isinstance(examples[0], tuple):
        return _ROWS + json.dumps(list(examples)).encode()
    if isinstance(examples[0], bytes):
        return _FILES + b"".join(len(data).to_bytes(_LENGTH, "little") + data for data in examples)
    buffer = io.BytesIO()
    np.save(buffer, np.stack(examples), allow_pickle=False)
    return buffer.getvalue()


def unpacked(data: bytes) -> list[Any]:
    """What `packed` was given."""
    if data.startswith(_MAGIC):
        return list(np.load(io.BytesIO(data), allow_pickle=False))
    if data.startswith(_ROWS):
        return [tuple(row) for row in json.loads(data[len(_ROWS) :])]
    if data.startswith(_FILES):
        return _files(data)
    return list(data.decode().split("\0"))


def _files(data: bytes) -> list[bytes]:
    found, at = [], len(_FILES)
    while at < len(data):
        end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH], "little")
        found.append(data[at + _LENGTH : end])
        at = end
    return found
