"""Object stores behind one interface: S3, Google Cloud Storage, Azure Blob, a mounted claim, and HTTP for reading.

Credentials are the files of a mounted Secret (named like obstore's options) or the pod's own identity: storeoptions has
them, and their values never reach a message. A URI of a file reaches mounted claims and nothing else of the pod: not
its Secrets, not its token. Every failure is a StageFailure that says which URI and which Secret. Touches the network
and the disk only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, HTTPStore, LocalStore, S3Store

from kaon.contract.digest import digest_of
from kaon_jobs.errors import ObjectNotFound, StageFailure, StoreAccessDenied, StoreUnreachable
from kaon_jobs.store.options import (
    PREFIX,
    WANTED,
    authority,
    clear_environment,
    identity_options,
    is_sensitive,
    secret_options,
)

CLAIMS_DIR = "/mnt"
"""Where claims are mounted, and so what file:///mnt stands for."""
CLAIMS_VARIABLE = "KAON_CLAIMS_DIR"
"""Overrides CLAIMS_DIR where there is no mount, e.g. in tests. Users cannot set a variable of such a name."""

CHUNK_BYTES = 4 * 1024 * 1024
# Longer than a store's restart, shorter than a person's patience; the Job's own retries come on top.
_RETRIES: Any = {"max_retries": 8, "retry_timeout": timedelta(seconds=60)}
_CLIENT: Any = {"timeout": "10min", "connect_timeout": "10s"}

# What obstore has no exception for: a refused listing; no credentials at all, for which S3 and Azure clients ask the
# cloud's metadata service, which is not everywhere; a mounted folder of another user.
_REFUSED = ("403 Forbidden", "401 Unauthorized", "169.254.169.254", "metadata.google", "os error 13")

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object, its path relative to the folder that was listed."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Store:
    """A folder in a store. Paths are relative to it, with `/`."""

    uri: str
    secret: str | None
    _backend: Any = field(repr=False)
    _prefix: str
    _hidden: tuple[str, ...] = field(repr=False, default=())
    _root: Path | None = field(repr=False, default=None)
    """The folder that a store of files is confined to."""

    def child(self, path: str) -> Store:
        """The folder below this one."""
        return replace(self, uri=f"{self.uri.rstrip('/')}/{path}", _prefix=_join(self._prefix, path))

    def read(self, path: str) -> bytes:
        """All bytes of one object.

        Raises:
            ObjectNotFound: there is none.
        """
        return b"".join(self.stream(path))

    def stream(self, path: str) -> Iterator[bytes]:
        """The bytes of one object, in chunks of a few megabytes."""
        with self._errors("read", path):
            key = self._key(path)
            if self._root is not None:
                yield from self._stream_file(self._root / key, path)
                return
            for chunk in obstore.get(self._backend, key).stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    def download(self, path: str, target: Path, seen: Callable[[int], None] | None = None) -> str:
        """Writes one object to a file and returns the SHA-256 (hex) of its bytes. `seen` hears each chunk's length."""
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("wb") as file:
            for chunk in self.stream(path):
                digest.update(chunk)
                file.write(chunk)
                if seen is not None:
                    seen(len(chunk))
        return digest.hexdigest()

    def write(self, path: str, data: bytes) -> None:
        """Puts an object, over whatever lies there."""
        with self._errors("write", path):
            obstore.put(self._backend, self._key(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Puts an object only if there is none; False when there is one. Atomic in the store."""
        with self._errors("write", path):
            try:
                obstore.put(self._backend, self._key(path), data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

    def upload(self, path: str, source: Path) -> None:
        """Puts a file, streaming it."""
        with self._errors("write", path):
            obstore.put(self._backend, self._key(path), source)

    def entries(self, path: str = "", *, most: int | None = None) -> list[Entry]:
        """Every object below a folder, sorted by path; empty when there is no such folder.

        Args:
            most: no more than so many, whichever the store lists first.
        """
        with self._errors("list", path):
            prefix = self._key(path)
            pages = obstore.list(self._backend, prefix or None, chunk_size=1000)
            items = islice((item for page in pages for item in page), most)
            found = [Entry(_relative(item["path"], prefix), item["size"]) for item in items]
            for entry in found:
                # A listing follows links.
                self._confine(_join(prefix, entry.path), _join(path, entry.path))
        return sorted((entry for entry in found if entry.path), key=lambda entry: entry.path)

    def exists(self, path: str) -> bool:
        """Whether there is an object under exactly this path."""
        try:
            with self._errors("read", path):
                obstore.head(self._backend, self._key(path))
        except ObjectNotFound:
            return False
        return True

    def delete(self, paths: list[str]) -> None:
        """Deletes objects; those that are not there count as deleted."""
        for path in paths:
            try:
                with self._errors("delete", path):
                    obstore.delete(self._backend, self._key(path))
            except ObjectNotFound:
                continue

    def download_folder(self, target: Path, progress: Progress | None = None) -> list[Entry]:
        """Copies every object below this folder into a directory.

        Raises:
            ObjectNotFound: the folder is empty or absent.
        """
        entries = self.entries()
        if not entries:
            raise ObjectNotFound(f"nothing lies under {self.uri}")
        seen = _counter(sum(entry.size for entry in entries), progress)
        for entry in entries:
            self.download(entry.path, target / safe_path(entry.path), seen)
        return entries

    def upload_folder(self, source: Path, progress: Progress | None = None) -> list[Entry]:
        """Copies every file of a directory into this folder."""
        files = sorted(path for path in source.rglob("*") if path.is_file())
        entries = [Entry(path.relative_to(source).as_posix(), path.stat().st_size) for path in files]
        seen = _counter(sum(entry.size for entry in entries), progress)
        for entry in entries:
            self.upload(entry.path, source / entry.path)
            seen(entry.size)
        return entries

    def _key(self, path: str) -> str:
        key = _join(self._prefix, path)
        self._confine(key, path)
        return key

    def _stream_file(self, file: Path, path: str) -> Iterator[bytes]:
        with file.open("rb") as opened:
            # What was opened is looked at, and not what its name leads to by now.
            self._confine(f"/proc/self/fd/{opened.fileno()}", path)
            while chunk := opened.read(CHUNK_BYTES):
                yield chunk

    def _confine(self, file: str, path: str) -> None:
        if self._root is None:
            return
        if not Path(os.path.realpath(self._root / file)).is_relative_to(os.path.realpath(self._root)):
            raise StageFailure(
                "UnsafePath",
                f"{self._where(path)} leads out of {CLAIMS_DIR}, where claims are mounted: put the files themselves "
                "into the claim, and no links to what lies elsewhere",
            )

    def _where(self, path: str) -> str:
        return f"{self.uri.rstrip('/')}/{path}".rstrip("/")

    @contextmanager
    def _errors(self, verb: str, path: str) -> Iterator[None]:
        where = self._where(path)
        try:
            yield
        except AlreadyExistsError:
            raise
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ObjectNotFound(f"cannot {verb} {where}: there is nothing under this URI") from error
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise self._denied(verb, where) from error
        except (BaseError, ValueError, OSError) as error:
            text = self._scrub(str(error).split("\n", 1)[0])
            if any(sign in text for sign in _REFUSED):
                raise self._denied(verb, where) from error
            raise StoreUnreachable(f"cannot {verb} {where}: {text}") from error

    def _denied(self, verb: str, where: str) -> StoreAccessDenied:
        scheme = urlsplit(self.uri).scheme
        if scheme not in WANTED:
            return StoreAccessDenied(f"not allowed to {verb} {where}: check the permissions of uid {os.getuid()} there")
        if self.secret is None:
            return StoreAccessDenied(
                f"not allowed to {verb} {where}: no Secret is set and the pod's own identity does not open it; "
                f"set secretRef to a Secret with the keys {WANTED[scheme]}"
            )
        return StoreAccessDenied(
            f"not allowed to {verb} {where}: the Secret {self.secret} was refused; it should have the keys "
            f"{WANTED[scheme]}, of somebody who may {verb} there"
        )

    def _scrub(self, text: str) -> str:
        for value in self._hidden:
            text = text.replace(value, "***")
        return text


def open_store(uri: str, secret: str | None, *, web: bool = False) -> Store:
    """The folder under `uri`, opened with the mounted Secret of that name (None: the pod's own identity).

    Nothing is dialled yet. No variable of the environment has a say in where the store is and who opens it. `web`: it
    may be a web address, as only a Dataset's source may.

    Raises:
        StoreAccessDenied: the Secret is not mounted or lacks its keys.
        StageFailure: the scheme is unknown, or an option is.
    """
    # Not urlsplit: in a key of an object store, ? and # are characters like any other.
    scheme, _, rest = uri.partition("://")
    bucket, _, prefix = rest.strip("/").partition("/")
    if scheme != "file":
        clear_environment()
    options = {}
    if scheme in PREFIX:
        options = identity_options(scheme) if secret is None else secret_options(uri, scheme, secret)
    hidden = tuple(value for key, value in options.items() if len(value) >= 6 and is_sensitive(key))
    client: Any = _CLIENT | authority(secret) if secret is not None else _CLIENT
    config: Any = {"config": options, "client_options": client, "retry_config": _RETRIES}
    backend: Any
    root: Path | None = None
    try:
        if scheme == "s3":
            backend = S3Store(bucket, **config)
        elif scheme == "gs":
            backend = GCSStore(bucket, **config)
        elif scheme == "az":
            backend = AzureStore(bucket, **config)
        elif scheme == "file":
            root, prefix = Path(os.environ.get(CLAIMS_VARIABLE, CLAIMS_DIR)), _path_in_claims(uri)
            backend = LocalStore(root)
        elif web and scheme in ("http", "https") and "?" not in uri:
            client = {**_CLIENT, "allow_http": scheme == "http"}
            backend = HTTPStore.from_url(f"{scheme}://{bucket}/", client_options=client, retry_config=_RETRIES)
        else:
            # A query may be a signature, which is a credential: it is neither used nor repeated.
            raise StageFailure(
                "StoreUnsupported",
                f"{uri.split('?', 1)[0]}: use s3://, gs://, az:// or file://. For a source of a Dataset, and for "
                "nothing else, an https:// URL without a query is possible, too.",
            )
    except (BaseError, ValueError) as error:
        text = str(error).split("\n", 1)[0]
        for value in hidden:
            text = text.replace(value, "***")
        opener = "the pod's own identity" if secret is None else f"the Secret {secret}"
        raise StageFailure("StoreOptionInvalid", f"cannot open {uri} with {opener}: {text}") from error
    return Store(uri.rstrip("/"), secret, backend, prefix, hidden, root)


def split_uri(uri: str) -> tuple[str, str]:
    """The folder and the last part of a URI: what is read when a URI names one file."""
    folder, _, name = uri.rstrip("/").rpartition("/")
    return folder, name


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(files: dict[str, str]) -> str:
    """One digest for a folder: of the canonical JSON of {path: SHA-256 as hex}. A pinned folder is compared with it."""
    return digest_of(files)


def safe_path(path: str) -> Path:
    """A relative path that cannot leave its folder.

    Raises:
        StageFailure: it could.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise StageFailure("UnsafePath", f"the file name {path!r} would leave its folder; rename it in the store")
    return Path(*pure.parts)


def _path_in_claims(uri: str) -> str:
    path = unquote(uri.removeprefix("file://")).rstrip("/")
    if not f"{path}/".startswith(f"{CLAIMS_DIR}/"):
        raise StageFailure("UnsafePath", f"{uri}: a file is one of a mounted claim, file://{CLAIMS_DIR}/…")
    return path.removeprefix(CLAIMS_DIR).strip("/")


def _join(prefix: str, path: str) -> str:
    return "/".join(part for part in (prefix.strip("/"), path.strip("/")) if part)


def _relative(path: str, prefix: str) -> str:
    return path.removeprefix(prefix.strip("/")).lstrip("/")


def _counter(total: int, progress: Progress | None) -> Callable[[int], None]:
    done = 0

    def seen(length: int) -> None:
        nonlocal done
        done += length
        if progress is not None:
            progress(done, total)

    return seen
