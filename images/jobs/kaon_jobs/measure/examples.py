"""Examples on their way to a child process's standard input.

Texts go with NUL between them, rows of a table as JSON, arrays as .npy.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

_MAGIC = b"\x93NUMPY"
_ROWS = b"\xffROWS"
"""Begins as no text in UTF-8 does."""


def packed(examples: Sequence[Any]) -> bytes:
    """The bytes of at least one example."""
    if isinstance(examples[0], str):
        return "\0".join(examples).encode()
    if isinstance(examples[0], tuple):
        return _ROWS + json.dumps(list(examples)).encode()
    buffer = io.BytesIO()
    np.save(buffer, np.stack(examples), allow_pickle=False)
    return buffer.getvalue()


def unpacked(data: bytes) -> list[Any]:
    """What `packed` was given."""
    if data.startswith(_MAGIC):
        return list(np.load(io.BytesIO(data), allow_pickle=False))
    if data.startswith(_ROWS):
        return [tuple(row) for row in json.loads(data[len(_ROWS) :])]
    return list(data.decode().split("\0"))
