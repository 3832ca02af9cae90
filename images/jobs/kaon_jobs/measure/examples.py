"""Examples on their way to a child process's standard input: texts with NUL between them, arrays as .npy."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

_MAGIC = b"\x93NUMPY"


def packed(examples: Sequence[Any]) -> bytes:
    """The bytes of at least one example."""
    if isinstance(examples[0], str):
        return "\0".join(examples).encode()
    buffer = io.BytesIO()
    np.save(buffer, np.stack(examples), allow_pickle=False)
    return buffer.getvalue()


def unpacked(data: bytes) -> list[Any]:
    """What `packed` was given."""
    if data.startswith(_MAGIC):
        return list(np.load(io.BytesIO(data), allow_pickle=False))
    return list(data.decode().split("\0"))
