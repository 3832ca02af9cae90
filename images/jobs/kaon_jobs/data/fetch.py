"""Copies a Dataset's sources from their stores, and says what their bytes are. Imports nothing heavy."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from kaon.contract.jobspec import DatasetSource, DatasetWork
from kaon_jobs.budget import ByteCount
from kaon_jobs.context import Context
from kaon_jobs.data.budget import ReadingBudget
from kaon_jobs.errors import ObjectNotFound, StageFailure
from kaon_jobs.fetched import FetchedSource
from kaon_jobs.store.objectstore import folder_digest, open_store, safe_path, split_uri


def fetch_sources(work: DatasetWork, context: Context) -> list[FetchedSource]:
    """All sources, in order. Bytes other than a pinned digest's are refused before they are parsed.

    Raises:
        StageFailure: SourceNotFound, SourceTooLarge, ScratchTooSmall or SourceDigestMismatch.
    """
    budget = ReadingBudget(context.budgets)
    copied = budget.copying(context.workdir)
    found = []
    for index, source in enumerate(work.sources):
        context.reporter.progress("fetching", 20 * index / len(work.sources))
        scratch = context.workdir / "raw" / str(index)
        fetched = _fetch(source, scratch, budget, copied, images=work.columns.is_image)
        if source.digest is not None and source.digest != fetched.digest:
            raise StageFailure(
                "SourceDigestMismatch",
                f"{source.uri} is not what is pinned: expected {source.digest}, found {fetched.digest}. "
                "Pin the new digest if the new bytes are meant.",
            )
        found.append(fetched)
    return found


def _fetch(
    source: DatasetSource, scratch: Path, budget: ReadingBudget, copied: ByteCount, *, images: bool
) -> FetchedSource:
    folder, name = split_uri(source.uri)
    parent = open_store(folder, source.secret, web=True)
    try:
        sha256 = parent.download(name, scratch / safe_path(name), partial(copied.add, source.uri))
        return FetchedSource(((source.uri, scratch / safe_path(name)),), f"sha256:{sha256}")
    except ObjectNotFound:
        (scratch / safe_path(name)).unlink(missing_ok=True)
    store = parent.child(name)
    # Markers such as _SUCCESS and hidden files are not data.
    listed = [] if source.uri.startswith("http") else store.entries(most=budget.budgets.source_files + 1)
    budget.check_files(source.uri, len(listed))
    # An empty file has no rows; an empty image is a row that cannot be read.
    entries = [entry for entry in listed if (entry.size > 0 or images) and not is_hidden(entry.path)]
    if not entries:
        raise StageFailure(
            "SourceNotFound",
            f"There is neither a file nor a folder with files at {source.uri}. Upload it, or correct the uri.",
        )
    copied.expect(source.uri, sum(entry.size for entry in entries))
    files = tuple((f"{store.uri}/{entry.path}", scratch / safe_path(entry.path)) for entry in entries)
    digests = {
        entry.path: store.download(entry.path, path, partial(copied.add, uri))
        for entry, (uri, path) in zip(entries, files, strict=True)
    }
    return FetchedSource(files, folder_digest(digests))


def is_hidden(path: str) -> bool:
    """Whether a file's path in a source says that it is no data: .DS_Store, _SUCCESS, __MACOSX/…"""
    return any(part.startswith((".", "_")) for part in path.split("/"))
