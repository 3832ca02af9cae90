"""Text files: which encoding their bytes are in, and their lines. Touches the stream it is given only.

What is declared holds. Else: a byte order mark, UTF-8 if all bytes are, and then only what leaves no doubt: encodings
under which the text is plausible all have to give the same text. Deterministic.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from kaon_jobs.data.plausible import plausible_codecs, python_codec
from kaon_jobs.data.rows import MAX_ROW_CHARACTERS
from kaon_jobs.data.values import BAD_BYTES
from kaon_jobs.errors import StageFailure

_SAMPLE_BYTES = 256 * 1024
_PIECE_CHARACTERS = 1024 * 1024
_START_BYTES = 64
_CHUNK_BYTES = 1024 * 1024
_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE = re.compile("[^\x00-\x7f]")
_MARKING = "kaon-mark-bad-bytes"


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return BAD_BYTES, error.end


codecs.register_error(_MARKING, _mark)


@dataclass(frozen=True, slots=True)
class Found:
    """An encoding, by the name of spec.encoding."""

    name: str
    by: str
    """declared or detected."""

    @property
    def codec(self) -> str:
        """The name by which Python knows it."""
        return python_codec(self.name)


def lines(uri: str, stream: BinaryIO, encoding: Found) -> Iterator[str]:
    """The lines with their ends (LF, CR LF or CR). BAD_BYTES stands where bytes cannot be decoded."""
    text = _decoded(stream, encoding)
    number = 0
    while line := text.readline(MAX_ROW_CHARACTERS):
        number += 1
        if len(line) == MAX_ROW_CHARACTERS and line[-1] not in "\r\n":
            raise StageFailure(
                "SourceUnreadable",
                f"{uri} line {number} is longer than {MAX_ROW_CHARACTERS:,} characters, the limit. Is it text?",
            )
        yield line.removeprefix("\ufeff") if number == 1 else line


def pieces(stream: BinaryIO, encoding: Found) -> Iterator[str]:
    """The same text in pieces of one size: a JSON array may be one line of any length."""
    text = _decoded(stream, encoding)
    piece = text.read(_PIECE_CHARACTERS).removeprefix("\ufeff")
    while piece:
        yield piece
        piece = text.read(_PIECE_CHARACTERS)


def _decoded(stream: BinaryIO, encoding: Found) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, encoding=encoding.codec, errors=_MARKING, newline="")


def find_encoding(uri: str, stream: BinaryIO, declared: str, names: Sequence[str]) -> Found:
    """The encoding of the stream, which is read to its end.

    Args:
        names: columns that the file should have; a header that has them under one encoding only speaks for it.

    Raises:
        StageFailure: EncodingUnknown, when several are possible and differ.
    """
    evidence = _Evidence()
    while chunk := stream.read(_CHUNK_BYTES):
        evidence.take(chunk)
        if declared != "auto":
            break
    mark = next((name for mark, name in _MARKS if evidence.head.startswith(mark)), None)
    start = evidence.head[:_START_BYTES]
    # Where a NUL byte comes first in its pair, the high byte does.
    at_start = start[::2].count(0), start[1::2].count(0)
    utf16 = "utf-16-be" if at_start[0] > at_start[1] else "utf-16-le"
    if declared == "utf-16" and mark is None:
        return Found(utf16, "declared")
    if declared != "auto":
        return Found(declared, "declared")
    if mark is not None:
        return Found(mark, "detected")
    low, high = sorted(evidence.nul)
    if (high * 100 > evidence.size and high > 10 * low) or (min(at_start) == 0 and 4 * max(at_start) > len(start)):
        return Found(utf16, "detected")
    evidence.end()
    if not evidence.good and not evidence.bad and (b"\x1b$B" in evidence.head or b"\x1b$@" in evidence.head):
        return Found("iso-2022-jp", "detected")
    if not evidence.bad or evidence.good > 10 * evidence.bad:
        # A few bytes that are no UTF-8 in a file that is: the rows that hold them are named.
        return Found("utf-8", "detected")
    sample = bytes(evidence.sample)
    possible = plausible_codecs(sample, evidence.head.split(b"\n", 1)[0], names)
    if not possible:
        if evidence.bad < 4 or evidence.good > evidence.bad:
            return Found("utf-8", "detected")
        raise StageFailure(
            "EncodingUnknown",
            f"{uri} is not UTF-8, and its encoding cannot be told for sure. Set spec.encoding, for example to gb18030, "
            "windows-1252 or shift_jis, or save the file as UTF-8.",
        )
    texts = {sample.decode(Found(name, "").codec, _MARKING) for name in possible}
    if len(texts) > 1:
        raise StageFailure(
            "EncodingUnknown",
            f"{uri} is not UTF-8, and its text is plausible in {' and in '.join(possible)}. Set spec.encoding to the "
            "one that it was written in, or save the file as UTF-8.",
        )
    return Found(possible[0], "detected")


class _Evidence:
    """What the bytes of a file say about their encoding, gathered chunk by chunk."""

    def __init__(self) -> None:
        self.head = b""
        self.size = 0
        self.nul = [0, 0]
        """NUL bytes at even and at odd places."""
        self.good = 0
        """Characters outside ASCII that are right UTF-8."""
        self.bad = 0
        """Places that are not."""
        self.sample = bytearray()
        """Lines with bytes outside ASCII."""
        self._decoder = codecs.getincrementaldecoder("utf-8")(_MARKING)

    def take(self, chunk: bytes) -> None:
        if not self.head:
            self.head = chunk[:_SAMPLE_BYTES]
        if b"\0" in chunk:
            odd = self.size % 2
            self.nul[odd] += chunk[::2].count(0)
            self.nul[1 - odd] += chunk[1::2].count(0)
        self.size += len(chunk)
        self._count(self._decoder.decode(chunk))
        if not chunk.isascii() and len(self.sample) < _SAMPLE_BYTES:
            for line in chunk.splitlines(keepends=True):
                if not line.isascii():
                    self.sample += line[: _SAMPLE_BYTES - len(self.sample)]

    def end(self) -> None:
        self._count(self._decoder.decode(b"", True))

    def _count(self, text: str) -> None:
        if text.isascii():
            return
        bad = text.count(BAD_BYTES)
        self.bad += bad
        self.good += len(_WIDE.findall(text)) - bad
