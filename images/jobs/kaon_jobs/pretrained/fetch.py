"""Copies a base model's folder from the store, and says what its bytes are. Imports nothing heavy."""

from __future__ import annotations

from kaon.contract.jobspec import TrainWork
from kaon.tasks.registry import TASKS
from kaon_jobs.context import Context
from kaon_jobs.errors import StageFailure
from kaon_jobs.fetched import FetchedModel
from kaon_jobs.pretrained.budget import check_listing, copying
from kaon_jobs.pretrained.folder import check_names
from kaon_jobs.store.objectstore import folder_digest, open_store, safe_path

_UNUSED = (".bin", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".pth", ".gguf", ".tflite", ".md")


def fetch_base_model(work: TrainWork, context: Context) -> FetchedModel:
    """Copies the base model's folder.

    With a pinned digest every file is read and counts; otherwise weights in formats that are never loaded stay where
    they are.

    Raises:
        StageFailure: ModelNotFound, ModelUnreadable, ModelTooLarge or ModelDigestMismatch.
    """
    target = context.workdir / "base"
    store = open_store(work.model.base, work.model_secret)
    limits = context.budgets
    entries = store.entries(most=limits.model_files + 1)
    check_listing(entries, store.uri, limits)
    check_names(entries, store.uri, of_images=TASKS[work.task].columns == ("image",))
    pinned = work.model.digest
    wanted = [entry for entry in entries if pinned is not None or not entry.path.endswith(_UNUSED)]
    copied, total, digests = copying(limits, target), sum(entry.size for entry in wanted), {}
    copied.expect(store.uri, total)

    def seen(length: int) -> None:
        copied.add(store.uri, length)
        context.reporter.progress("fetching", 4 * copied.done / total)

    for entry in wanted:
        digests[entry.path] = store.download(entry.path, target / safe_path(entry.path), seen)
    digest = folder_digest(digests)
    if pinned is not None and pinned != digest:
        raise StageFailure(
            "ModelDigestMismatch",
            f"{store.uri} is not what is pinned: expected {pinned}, found {digest}; pin the new digest if it is meant",
        )
    return FetchedModel(target, digest)
