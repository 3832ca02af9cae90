"""Artifacts: a folder whose manifest `kaon.json` is put last and only once. Written, found, read and verified here.

Files of one attempt lie under `<folder>/<attempt>/`; the first manifest that is put makes its attempt the artifact,
and every other attempt adopts it. Nothing leaves this module unverified. Touches the store and local directories.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from kaon.api.common import ArtifactStatus
from kaon.api.report import Result
from kaon.contract.digest import canonical_json
from kaon.contract.jobspec import InputArtifact, JobSpec, StoreAccess
from kaon.contract.manifest import MANIFEST_NAME, ArtifactFile, Manifest, ModelCard
from kaon_jobs.errors import ArtifactCorrupted, ObjectNotFound, StageFailure
from kaon_jobs.store import Progress, Store, open_store, safe_path, sha256_file

log = logging.getLogger(__name__)

ArtifactKind = Literal["dataset", "model", "compressed-model", "verdict"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished artifact: where it lies, its digest, what its manifest says."""

    uri: str
    digest: str
    manifest: Manifest

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size_bytes for file in self.manifest.files)

    def status(self) -> ArtifactStatus:
        """How a status names it."""
        return ArtifactStatus(uri=self.uri, digest=self.digest, size_bytes=self.size_bytes)

    def result(self, *, reused: bool) -> Result:
        """The Result that made it, as it is reported. A verdict without a model names no artifact."""
        artifact = None if self.manifest.kind == "verdict" else self.status()
        return self.manifest.result.model_copy(update={"artifact": artifact, "reused": reused})


def find(output: StoreAccess, input_digest: str) -> Artifact | None:
    """The finished artifact of a stage's output folder, or None when no attempt has finished.

    Raises:
        ArtifactCorrupted: there is a manifest, but of another input, or its files are gone.
    """
    store = open_store(output.uri, output.secret)
    try:
        data = store.read(MANIFEST_NAME)
    except ObjectNotFound:
        return None
    artifact = _parse(store, data)
    way_out = f"delete {store.uri}/{MANIFEST_NAME} or set spec.rerun to make it again"
    if artifact.manifest.input_digest != input_digest:
        raise ArtifactCorrupted(
            f"{store.uri} should hold the artifact of input {input_digest}, but its manifest says "
            f"{artifact.manifest.input_digest}; {way_out}"
        )
    present = {entry.path: entry.size for entry in store.entries(artifact.manifest.attempt)}
    for file in artifact.manifest.files:
        if present.get(file.path) != file.size_bytes:
            raise ArtifactCorrupted(
                f"{store.uri}/{artifact.manifest.attempt}/{file.path} should have {file.size_bytes} bytes, "
                f"the store has {present.get(file.path, 'no such file')}; {way_out}"
            )
    return artifact


def publish(
    job: JobSpec,
    directory: Path,
    *,
    kind: ArtifactKind,
    attempt: str,
    result: Result,
    inputs: dict[str, str] | None = None,
    model: ModelCard | None = None,
    progress: Progress | None = None,
) -> Result:
    """Makes a directory the artifact of a job, and returns the Result to report.

    When another attempt has finished first, its artifact is adopted and its Result returned: two attempts never leave
    two artifacts of one input.

    Args:
        inputs: role -> artifact digest of what was read, e.g. {"dataset": "sha256:…"}.
        result: without `artifact`; it is stored in the manifest as it is.
    """
    output = _output(job)
    store = open_store(output.uri, output.secret)
    files = [_describe(path, directory) for path in sorted(directory.rglob("*")) if path.is_file()]
    store.child(attempt).upload_folder(directory, progress)
    manifest = Manifest(
        kind=kind,
        input_digest=job.input_digest,
        attempt=attempt,
        files=files,
        inputs=inputs or {},
        provenance=job.provenance,
        model=model,
        result=result.model_copy(update={"artifact": None, "reused": False}),
    )
    data = canonical_json(manifest.wire())
    if store.create(MANIFEST_NAME, data):
        return _parse(store, data).result(reused=False)
    winner = _parse(store, store.read(MANIFEST_NAME))
    log.info("another attempt (%s) has finished this artifact first; adopting it", winner.manifest.attempt)
    if winner.manifest.attempt != attempt:
        _discard(store, attempt, files)
    return winner.result(reused=True)


def fetch(
    source: InputArtifact,
    target: Path,
    *,
    only: Collection[str] | Callable[[Manifest], Collection[str]] | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Copies an artifact's files into a directory, every byte verified against the digest asked for.

    Args:
        only: paths to copy, or what says so from the manifest; default all. A path that the artifact lacks is an error.

    Raises:
        ArtifactCorrupted: the manifest or a file has other bytes than its digest says.
        ObjectNotFound: reason ArtifactNotFound; there is no artifact under the URI.
    """
    store = open_store(source.uri, source.secret)
    artifact = load(source)
    wanted = {file.path: file for file in artifact.manifest.files}
    if only is not None:
        names = only(artifact.manifest) if callable(only) else only
        missing = sorted(set(names) - set(wanted))
        if missing:
            raise StageFailure(
                "ArtifactIncomplete",
                f"the artifact {store.uri} has no {', '.join(missing)}; it has {', '.join(sorted(wanted))}",
            )
        wanted = {name: wanted[name] for name in sorted(names)}
    total, done = sum(file.size_bytes for file in wanted.values()), 0

    def seen(length: int) -> None:
        nonlocal done
        done += length
        if progress is not None:
            progress(done, total)

    files = store.child(artifact.manifest.attempt)
    for file in wanted.values():
        local = target / safe_path(file.path)
        try:
            actual = files.download(file.path, local, seen)
        except ObjectNotFound as error:
            raise ArtifactCorrupted(f"{files.uri}/{file.path} is in the manifest and not in the store") from error
        size = local.stat().st_size
        if actual != file.sha256 or size != file.size_bytes:
            local.unlink()
            raise ArtifactCorrupted(
                f"{files.uri}/{file.path} is not what the manifest names: expected sha256 {file.sha256} "
                f"({file.size_bytes} bytes), found {actual} ({size} bytes)"
            )
    return artifact


def load(source: InputArtifact) -> Artifact:
    """The manifest of an artifact, verified against the digest asked for. Copies no files."""
    store = open_store(source.uri, source.secret)
    try:
        data = store.read(MANIFEST_NAME)
    except ObjectNotFound as error:
        raise ObjectNotFound(
            f"there is no artifact under {store.uri}: {MANIFEST_NAME} is missing", "ArtifactNotFound"
        ) from error
    actual = _digest(data)
    if actual != source.digest:
        raise ArtifactCorrupted(
            f"{store.uri}/{MANIFEST_NAME} is not the artifact that was asked for: "
            f"expected {source.digest}, found {actual}"
        )
    return _parse(store, data)


def _parse(store: Store, data: bytes) -> Artifact:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]["msg"]
        raise ArtifactCorrupted(f"{store.uri}/{MANIFEST_NAME} is not a manifest: {first}") from error
    return Artifact(store.uri, _digest(data), manifest)


def _describe(path: Path, directory: Path) -> ArtifactFile:
    name = path.relative_to(directory).as_posix()
    return ArtifactFile(path=name, sha256=sha256_file(path), size_bytes=path.stat().st_size)


def _discard(store: Store, attempt: str, files: list[ArtifactFile]) -> None:
    try:
        store.delete([f"{attempt}/{file.path}" for file in files])
    except StageFailure as error:
        # The artifact is complete without this; a policy that forbids deleting is no reason to fail.
        log.warning("files of the superseded attempt %s stay in the store: %s", attempt, error.message)


def _output(job: JobSpec) -> StoreAccess:
    if job.output is None:
        raise StageFailure("InvalidSpec", f"a {job.work.stage} job needs `output`: where its artifact goes")
    return job.output


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
