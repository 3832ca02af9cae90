"""What a file is, by its name and its first bytes, and its bytes without compression. Touches the disk only."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow as pa

from kaon_jobs.data.budget import ReadingBudget
from kaon_jobs.data.xz import XZ_MEMORY_BYTES, XzReader
from kaon_jobs.errors import StageFailure

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
"""Formats by the end of a file's name. tsv is csv whose columns are separated by tabs."""
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1", "parquet"),
    (b"PARE", "encrypted Parquet"),
)
# What is no data file, and what to do. First bytes before names: names lie.
_FOREIGN_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a spreadsheet or document of an old office program"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"%PDF-", "a PDF document"),
    (b"ARROW1", "an Arrow file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
)
_FOREIGN_NAMES = {
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tgz"), "an archive"),
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), "a spreadsheet"),
    **dict.fromkeys((".md", ".rst", ".pdf", ".docx", ".doc", ".html", ".htm"), "a document"),
    **dict.fromkeys((".py", ".ipynb", ".sh", ".r"), "a program"),
    **dict.fromkeys((".yaml", ".yml", ".toml", ".ini", ".cfg", ".xml"), "a file of settings"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp"), "an image"),
    **dict.fromkeys(
        (".arrow", ".feather", ".orc", ".avro", ".db", ".sqlite", ".pkl", ".npy", ".npz"), "another format"
    ),
}
_FOREIGN_STEMS = {"readme", "license", "licence", "notice", "changelog", "makefile"}
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_WAY_OUT = "Write its rows as CSV, JSON lines or Parquet"


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file on this machine, with what it is."""

    uri: str
    path: Path
    format: str
    """csv, tsv, jsonl, json or parquet; of images zip or tar."""
    format_by: str
    compression: str | None


def identify(uri: str, path: Path, declared: str, budget: ReadingBudget, *, in_folder: bool) -> DataFile:
    """Says what a file is.

    Raises:
        StageFailure: FormatUnknown, when it is no data file or its format cannot be told.
    """
    head = _head(path)
    _check_foreign(uri, head, in_folder=in_folder)
    by_chance = declared == "auto" or in_folder
    compression = compression_of(path)
    name = PurePosixPath(uri.lower())
    if name.suffix in _COMPRESSIONS:
        if head and compression is None:
            raise StageFailure(
                "SourceUnreadable",
                f"{uri} is not compressed with {_COMPRESSIONS[name.suffix]}, as its name says. Upload the file again, "
                f"or take {name.suffix} from its name.",
            )
        name = name.with_suffix("")
    if compression is not None:
        with reading(uri, compression), opened(DataFile(uri, path, "", "", compression), budget) as file:
            head = file.read(4096)
        _check_foreign(uri, head, in_folder=in_folder)
        again = next((name for magic, name in _MAGIC[:4] if head.startswith(magic)), None)
        if again is not None:
            what = f"{uri} is compressed twice, with {again} and then with {compression}"
            raise StageFailure("SourceUnreadable", f"{what}. Decompress it once and upload that.")
    if by_chance:
        _check_name(uri, name, in_folder=in_folder)
    known = next((format_name for magic, format_name in _MAGIC[4:] if head.startswith(magic)), None)
    found, found_by = _format(uri, head, declared, known or FORMATS.get(name.suffix), in_folder=in_folder)
    if compression is not None and found == "parquet":
        raise StageFailure(
            "SourceUnreadable",
            f"{uri} is Parquet compressed as a whole with {compression}. Decompress it: Parquet compresses itself.",
        )
    return DataFile(uri, path, found, found_by, compression)


def compression_of(path: Path) -> str | None:
    """How a file is compressed as a whole, by its first bytes."""
    head = _head(path)
    return next((name for magic, name in _MAGIC[:4] if head.startswith(magic)), None)


def _format(uri: str, head: bytes, declared: str, found: str | None, *, in_folder: bool) -> tuple[str, str]:
    if found == "encrypted Parquet":
        raise StageFailure("SourceUnreadable", f"{uri} is encrypted Parquet. Write it without encryption.")
    is_parquet = declared == "parquet" or (declared == "auto" and found == "parquet")
    if is_parquet and head and not head.startswith(b"PAR1"):
        said = "its name" if declared == "auto" else "spec.format"
        raise StageFailure(
            "SourceUnreadable",
            f"{uri} is no Parquet, though {said} says so. Set spec.format to what it is, or upload the file again.",
        )
    if declared != "auto":
        if head.startswith(b"PAR1") and declared != "parquet":
            raise StageFailure(
                "SourceUnreadable", f"{uri} is Parquet, and spec.format is {declared}. Set spec.format to auto."
            )
        return ("tsv" if declared == "csv" and found == "tsv" else declared), "declared"
    if found is None:
        *endings, last = sorted(FORMATS)
        ways = f"Give it a name that ends with {', '.join(endings)} or {last}, or set spec.format"
        if in_folder:
            ways = f"{ways}, or take the file out of the folder"
        raise StageFailure("FormatUnknown", f"The format of {uri} cannot be told by its name. {ways}.")
    if found in ("json", "jsonl"):
        # Both names are used for both formats.
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n\xff\xfe\x00")[:1]
        found = {b"[": "json", b"{": "jsonl"}.get(start, found)
    return found, "detected"


def _check_foreign(uri: str, head: bytes, *, in_folder: bool) -> None:
    what = next((what for magic, what in _FOREIGN_MAGIC if head.startswith(magic)), None)
    if head.startswith(_LFS_POINTER):
        raise StageFailure(
            "SourceUnreadable",
            f"{uri} is a pointer of Git LFS, and not the file itself. Fetch it with `git lfs pull` and upload that.",
        )
    if head[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        raise StageFailure(
            "FormatUnknown",
            f"{uri} is a web page. Check that the URI names the file itself and needs no login in a browser.",
        )
    if what is None and head[257:262] == b"ustar":
        what = "a tar archive"
    if what is not None:
        raise _foreign(uri, what, in_folder=in_folder)


def _check_name(uri: str, name: PurePosixPath, *, in_folder: bool) -> None:
    what = _FOREIGN_NAMES.get(name.suffix)
    if what is None and name.stem in _FOREIGN_STEMS and name.suffix not in FORMATS:
        what = "a document"
    if what is not None:
        raise _foreign(uri, what, in_folder=in_folder)


def _foreign(uri: str, what: str, *, in_folder: bool) -> StageFailure:
    or_else = ", or take the file out of the folder" if in_folder else ""
    return StageFailure("FormatUnknown", f"{uri} is {what}, which is not read. {_WAY_OUT}{or_else}.")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


@contextmanager
def opened(file: DataFile, budget: ReadingBudget) -> Iterator[BinaryIO]:
    """The file's bytes without compression, as a stream that ends with SourceTooLarge where they are too many."""
    stream: BinaryIO
    path = file.path
    if file.compression == "gzip":
        stream = gzip.open(path)  # type: ignore[assignment]  # noqa: SIM115
    elif file.compression == "bzip2":
        stream = bz2.open(path)  # type: ignore[assignment]  # noqa: SIM115
    elif file.compression == "xz":
        stream = io.BufferedReader(XzReader(path))
    elif file.compression == "zstd":
        # Its library refuses windows above 128 MiB.
        stream = io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    else:
        stream = path.open("rb")
    with stream if file.compression is None else budget.counted(file.uri, path, stream) as found:
        yield found


@contextmanager
def reading(uri: str, compression: str | None) -> Iterator[None]:
    """Inside, whatever decompression or Arrow raises about the file's bytes becomes a StageFailure."""
    try:
        yield
    except StageFailure:
        raise
    except (EOFError, zlib.error, lzma.LZMAError, pa.ArrowException, OSError, UnicodeError) as error:
        # What a library says may hold bytes of the file, so that none of it is repeated.
        if isinstance(error, EOFError) or "Truncated compressed stream" in str(error):
            message = f"{uri} is incomplete: its {compression} stream breaks off. Upload the whole file again."
        elif compression == "xz" and "Memory usage limit" in str(error):
            message = f"{uri} is compressed so that it takes more than {XZ_MEMORY_BYTES:,} bytes of memory to read, "
            message += "the limit. Compress it again with `xz -9` or less."
        elif compression is not None:
            message = f"{uri} is damaged: its {compression} stream cannot be read. Upload the file again."
        else:
            message = f"{uri} is damaged or incomplete ({type(error).__name__}). Write or upload the file again."
        raise StageFailure("SourceUnreadable", message) from error
