"""Reads image folders: a folder for each class, named as it, with its JPEG and PNG files; also as a ZIP or tar archive.

The name of a file's folder is its label. Folders around all class folders do not matter. Touches files only.

An archive is somebody's file: nothing of it is unpacked to the disk. A member whose path leaves the archive, a link or
a device refuses the archive as a whole; how many members and bytes are read has a budget.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, TypeVar

from kaon_jobs.data.budget import ReadingBudget
from kaon_jobs.data.fetch import is_hidden
from kaon_jobs.data.files import DataFile, opened, reading
from kaon_jobs.data.pictures import MAX_FILE_BYTES
from kaon_jobs.data.rows import FileRows, Reading, shortened
from kaon_jobs.errors import StageFailure

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png"})
"""Ends of the names of images."""
ARCHIVES = {"zip": "ZIP archive", "tar": "tar archive"}
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_BLOCK = 1024 * 1024
_NO_PLAIN_FILE = "is no plain file (a link, a device or a sparse file)"

Member = TypeVar("Member")


def archive_of(path: Path, compression: str | None, uri: str, budget: ReadingBudget) -> str | None:
    """zip or tar, where a file is such an archive by its first bytes; else None."""
    with reading(uri, compression), opened(DataFile(uri, path, "", "", compression), budget) as file:
        head = file.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    return "tar" if head[257:262] == b"ustar" else None


def odd_and_images(files: Iterable[tuple[str, Path]], uri: str) -> tuple[str | None, int]:
    """By their names: the first file of a folder that is no image in a class folder, if any, and how many are."""
    odd: str | None = None
    images = 0
    for file, _ in files:
        path = PurePosixPath(file[len(uri) :].lstrip("/"))
        if path.suffix.lower() in SUFFIXES and len(path.parts) > 1:
            images += 1
        else:
            odd = odd or file
    return odd, images


def read_folder(rows: FileRows, files: Sequence[tuple[str, Path]], *, by: str) -> Reading:
    """Fills in a row for each file of a folder, and removes it. The rows' URI is the folder's.

    Raises:
        StageFailure: ImageFolderUnclear, SourceTooLarge.
    """
    paths = [uri[len(rows.uri) :].lstrip("/") for uri, _ in files]
    labels = _labels(rows.uri, paths)
    for (uri, path), name, label in zip(files, paths, labels, strict=True):
        with path.open("rb") as file:
            _add(rows, file, path.stat().st_size, label, name, uri)
        path.unlink()
    return Reading("image-folder", by)


def read_archive(rows: FileRows, file: DataFile) -> Reading:
    """Fills in a row for each image of an archive, whose URI is the rows'.

    Raises:
        StageFailure: ArchiveUnsafe, ImageFolderUnclear, SourceUnreadable, SourceTooLarge.
    """
    if file.format == "zip":
        try:
            with zipfile.ZipFile(file.path) as archive:
                _read_zip(rows, archive, file)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError, ValueError) as error:
            raise StageFailure(
                "SourceUnreadable", f"{file.uri} is a damaged ZIP archive ({type(error).__name__}). Upload it again."
            ) from error
    else:
        with reading(file.uri, file.compression):
            _read_tar(rows, file)
    return Reading("image-folder", file.format_by, file.compression, archive=ARCHIVES[file.format])


def _read_zip(rows: FileRows, archive: zipfile.ZipFile, file: DataFile) -> None:
    members = archive.infolist()
    rows.budget.check_members(file.uri, len(members))
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(file.uri, member.filename, _NO_PLAIN_FILE)
        if member.flag_bits & 1:
            raise StageFailure(
                "SourceUnreadable",
                f"{file.uri} is encrypted: {shortened(member.filename)} needs a password. Upload it without one.",
            )
        if member.compress_type not in _ZIP_METHODS:
            raise StageFailure(
                "SourceUnreadable",
                f"{shortened(member.filename)} in {file.uri} is compressed by a method that is not read. Compress the "
                "archive by deflate, as `zip` does.",
            )
    wanted = _data(rows, file.uri, ((member.filename, member.is_dir(), member) for member in members))
    labels = _labels(file.uri, list(wanted))
    count = rows.budget.counting(file.uri, file.path)
    for (name, member), label in zip(wanted.items(), labels, strict=True):
        with archive.open(member) as stream:
            count(_add(rows, stream, member.file_size, label, name, f"{file.uri}#{name}"))


def _read_tar(rows: FileRows, file: DataFile) -> None:
    try:
        # Twice: labels are known only when all paths are.
        with opened(file, rows.budget) as stream, tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK) as archive:
            wanted = _data(rows, file.uri, _of_tar(rows, archive, file.uri))
        labels = dict(zip(wanted, _labels(file.uri, list(wanted)), strict=True))
        with opened(file, rows.budget) as stream, tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK) as archive:
            for member in archive:
                _forget(archive)
                content = archive.extractfile(member) if member.name in labels else None
                if content is not None:
                    _add(rows, content, member.size, labels[member.name], member.name, f"{file.uri}#{member.name}")
    except tarfile.TarError as error:
        raise StageFailure(
            "SourceUnreadable",
            f"{file.uri} is a damaged or incomplete tar archive ({type(error).__name__}). Upload it again.",
        ) from error


def _of_tar(rows: FileRows, archive: tarfile.TarFile, uri: str) -> Iterator[tuple[str, bool, None]]:
    for number, member in enumerate(archive, start=1):
        rows.budget.check_members(uri, number)
        if member.type not in (*_FILES, tarfile.DIRTYPE) or member.issparse():
            raise _unsafe(uri, member.name, _NO_PLAIN_FILE)
        _forget(archive)
        yield member.name, member.isdir(), None


def _forget(archive: tarfile.TarFile) -> None:
    """Lets go of the members that were read: tarfile keeps them all, for a second look that a stream has not."""
    kept: Any = archive
    kept.members = []


def _data(rows: FileRows, uri: str, members: Iterable[tuple[str, bool, Member]]) -> dict[str, Member]:
    """The members that are files of data, by name; what is hidden is counted.

    Args:
        members: name of each, whether it is a folder, and itself.

    Raises:
        StageFailure: ArchiveUnsafe, or SourceUnreadable (two members of one name).
    """
    found: dict[str, Member] = {}
    for name, is_folder, member in members:
        posix, windows = PurePosixPath(name), PureWindowsPath(name)
        if posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in name:
            raise _unsafe(uri, name, "leaves the archive")
        if is_folder:
            continue
        if is_hidden(str(posix)):
            rows.noticed["hidden"] += 1
            continue
        if name in found:
            raise StageFailure(
                "SourceUnreadable", f"{uri} holds {shortened(name)} twice. Write the archive with each file once."
            )
        found[name] = member
    if not found:
        raise StageFailure("SourceEmpty", f"{uri} holds no files. Put a folder for each class into it.")
    return found


def _labels(uri: str, paths: Sequence[str]) -> Iterator[str]:
    """The class of each path: the folder that holds the file.

    Raises:
        StageFailure: ImageFolderUnclear, where files lie outside of class folders or at different depths.
    """
    depths = {len(PurePosixPath(path).parts) for path in paths}
    shortest = min(paths, key=lambda path: len(PurePosixPath(path).parts))
    if min(depths) < 2:
        raise StageFailure(
            "ImageFolderUnclear",
            f"{shortened(shortest, 200)} of {uri} lies in no class folder, so it has no label. Put each image into a "
            "folder that is named as its class, and take other files out.",
        )
    around = {PurePosixPath(path).parts[:-2] for path in paths}
    if len(around) > 1:
        first, second = sorted(("/".join(parts) for parts in around), key=lambda path: (len(path), path))[:2]
        raise StageFailure(
            "ImageFolderUnclear",
            f"{uri} holds class folders in several folders, such as {shortened(first, 100) or 'its top'} and "
            f"{shortened(second, 100)}. Name each of these as a source of its own (with `split`, where it is one), or "
            "put all class folders into one.",
        )
    return (PurePosixPath(path).parts[-2] for path in paths)


def _add(rows: FileRows, file: IO[bytes], size: int, label: str, name: str, uri: str) -> int:
    """Adds the row of a file, whose size was told. Returns how many bytes were read."""
    if size > MAX_FILE_BYTES:
        cause = f"the file has {size:,} bytes, and {MAX_FILE_BYTES:,} is the limit"
        rows.refuse(cause, None, "Scale the image down.", name=name)
        return 0
    data = file.read(MAX_FILE_BYTES + 1)
    rows.add([data], label, name=name, file=uri)
    return len(data)


def _unsafe(uri: str, name: str, what: str) -> StageFailure:
    return StageFailure(
        "ArchiveUnsafe",
        f"{shortened(name, 100)} in {uri} {what}. Write the archive anew, of plain files and folders below its top.",
    )
