"""Reads .xz with a bound on memory: a file says how much its reader takes, up to 4 GiB. Touches the file only."""

from __future__ import annotations

import io
import lzma
from pathlib import Path

XZ_MEMORY_BYTES = 256 * 1024**2
"""`xz -9` takes 65 MiB."""
_CHUNK_BYTES = 256 * 1024


class XzReader(io.RawIOBase):
    """The bytes of all streams of a file, one after the other, without compression.

    Raises, from reading: lzma.LZMAError (damaged, or over the memory), EOFError (incomplete).
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._decoder = _decoder()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            if self._decoder.eof and not self._next_stream():
                return 0
            chunk = self._file.read(_CHUNK_BYTES) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not chunk:
                raise EOFError("the stream breaks off")
            data = self._decoder.decompress(chunk, max_length=len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)

    def _next_stream(self) -> bool:
        # Streams may be followed by zero bytes, in fours.
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            chunk = self._file.read(_CHUNK_BYTES)
            if not chunk:
                return False
            rest = chunk.lstrip(b"\0")
        self._file.seek(-len(rest), io.SEEK_CUR)
        self._decoder = _decoder()
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def _decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
