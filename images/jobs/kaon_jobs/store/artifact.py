"""Artifacts: a folder whose manifest `kaon.json` is put last and only once. Written, found, read and verified here.

Files of one attempt lie under `<folder>/<attempt>/`, with the signature of the trust domain; the first manifest that is
put makes its attempt the artifact, and every other attempt adopts it. The store is not trusted: whatever is read is
checked for signature, address, kind, inputs and hashes. Touches the store and local directories.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from kaon.api.common import ArtifactStatus
from kaon.api.report import Result
from kaon.contract.address import artifact_uri
from kaon.contract.digest import canonical_json
from kaon.contract.jobspec import InputArtifact, JobSpec, StoreAccess
from kaon.contract.manifest import MANIFEST_NAME, SIGNATURE_NAME, ArtifactFile, Manifest, ModelCard
from kaon.contract.signing import SignatureInvalid
from kaon_jobs.errors import ArtifactCorrupted, ObjectNotFound, StageFailure
from kaon_jobs.store import modelsigning
from kaon_jobs.store.lineage import ArtifactKind, inputs_of, kinds_of
from kaon_jobs.store.objectstore import Progress, Store, open_store, safe_path, sha256_file
from kaon_jobs.store.trust import signing_key, trusted_keys

log = logging.getLogger(__name__)

MODELS: Collection[ArtifactKind] = frozenset({"model", "compressed-model"})


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


def find(job: JobSpec) -> Artifact | None:
    """The finished artifact of a job, every byte of it verified, or None when no attempt has finished.

    Raises:
        ArtifactCorrupted: there is a manifest, but nobody trusted has signed it, it is of another address, kind or
            input, or its files are gone or have other bytes.
    """
    output = _output(job)
    store = open_store(output.uri, output.secret)
    try:
        data = store.read(MANIFEST_NAME)
    except ObjectNotFound:
        return None
    try:
        return _finished(store, data, job)
    except ArtifactCorrupted as error:
        way_out = f"Delete {store.uri}/{MANIFEST_NAME}, or set spec.rerun, to make the artifact again."
        raise ArtifactCorrupted(f"{error.message}. {way_out}") from error


def publish(
    job: JobSpec,
    directory: Path,
    *,
    kind: ArtifactKind,
    attempt: str,
    result: Result,
    model: ModelCard | None = None,
    progress: Progress | None = None,
) -> Result:
    """Makes a directory the artifact of a job, and returns the Result to report.

    When another attempt has finished first, its artifact is adopted and its Result returned: two attempts never leave
    two artifacts of one input.

    Args:
        result: without `artifact`; it is stored in the manifest as it is.

    Raises:
        ArtifactCorrupted: another manifest is there, and it is not what an attempt at this job would have left.
    """
    output = _output(job)
    store = open_store(output.uri, output.secret)
    key = signing_key()
    finished = find(job)
    if finished is not None:
        log.info("another attempt (%s) has finished this artifact; adopting it", finished.manifest.attempt)
        return finished.result(reused=True)
    files = [_describe(path, directory) for path in sorted(directory.rglob("*")) if path.is_file()]
    store.child(attempt).upload_folder(directory, progress)
    manifest = Manifest(
        kind=kind,
        address=job.address,
        content=job.content or {},
        attempt=attempt,
        files=files,
        inputs=inputs_of(job),
        provenance=job.provenance,
        model=model,
        result=result.model_copy(update={"artifact": None, "content": job.content or {}, "reused": False}),
    )
    data = canonical_json(manifest.wire())
    # Before the manifest: an artifact without its signature is none, at no moment.
    store.write(modelsigning.signature_path(manifest), modelsigning.sign(manifest, data, key))
    if store.create(MANIFEST_NAME, data):
        return _parse(store, data).result(reused=False)
    winner = _finished(store, store.read(MANIFEST_NAME), job)
    log.info("another attempt (%s) has finished this artifact first; adopting it", winner.manifest.attempt)
    if winner.manifest.attempt != attempt:
        _discard(store, attempt, files)
    return winner.result(reused=True)


def fetch(
    source: InputArtifact,
    target: Path,
    *,
    kinds: Collection[ArtifactKind],
    only: Collection[str] | Callable[[Manifest], Collection[str]] | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Copies an artifact's files into a directory, every byte verified against the digest asked for.

    Args:
        kinds: what it may be.
        only: paths to copy, or what says so from the manifest; default all. A path that the artifact lacks is an error.

    Raises:
        ArtifactCorrupted: the manifest or a file has other bytes than its digest says, nobody trusted has signed it,
            or it is of another kind or address.
        ObjectNotFound: reason ArtifactNotFound; there is no artifact under the URI.
    """
    store = open_store(source.uri, source.secret)
    artifact = load(source, kinds=kinds)
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


def load(source: InputArtifact, *, kinds: Collection[ArtifactKind]) -> Artifact:
    """The manifest of an artifact: its signature is verified, and its digest is the one asked for. Copies no files."""
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
    return _trusted(store, data, kinds)


def _finished(store: Store, data: bytes, job: JobSpec) -> Artifact:
    """What another attempt at this job has left, checked to be just that."""
    artifact = _trusted(store, data, kinds_of(job))
    manifest = artifact.manifest
    told = {"address": job.address, "content": job.content or {}, "inputs": inputs_of(job)}
    found = {"address": manifest.address, "content": manifest.content, "inputs": manifest.inputs}
    for name, expected in told.items():
        if found[name] != expected:
            raise ArtifactCorrupted(f"{store.uri} should be of {name} {expected}; its manifest says {found[name]}")
    folder = store.child(manifest.attempt)
    for file in manifest.files:
        _check_stored(folder, file)
    return artifact


def _trusted(store: Store, data: bytes, kinds: Collection[ArtifactKind]) -> Artifact:
    """A manifest that a trusted key has signed, of the kind that was asked for, and of the address where it lies."""
    artifact = _parse(store, data)
    manifest = artifact.manifest
    where = f"{store.uri}/{MANIFEST_NAME}"
    safe_path(manifest.attempt)
    try:
        modelsigning.verify(store.read(modelsigning.signature_path(manifest)), manifest, data, trusted_keys())
    except ObjectNotFound as error:
        raise ArtifactCorrupted(
            f"{where} is not trusted: {modelsigning.signature_path(manifest)} is missing"
        ) from error
    except SignatureInvalid as error:
        raise ArtifactCorrupted(f"{where} is not trusted: {error}") from error
    if manifest.kind not in kinds:
        raise ArtifactCorrupted(f"{where} is of a {manifest.kind}; {' or '.join(sorted(kinds))} was expected")
    if artifact_uri("", manifest.address) != f"/{store.uri.rpartition('/')[2]}":
        raise ArtifactCorrupted(f"{where} is of the address {manifest.address}, and lies in the folder of another")
    return artifact


def _check_stored(folder: Store, file: ArtifactFile) -> None:
    digest, size = hashlib.sha256(), 0
    safe_path(file.path)
    try:
        for chunk in folder.stream(file.path):
            digest.update(chunk)
            size += len(chunk)
    except ObjectNotFound as error:
        raise ArtifactCorrupted(f"{folder.uri}/{file.path} is in the manifest and not in the store") from error
    if size != file.size_bytes or digest.hexdigest() != file.sha256:
        raise ArtifactCorrupted(
            f"{folder.uri}/{file.path} should have sha256 {file.sha256} ({file.size_bytes} bytes), "
            f"the store has {digest.hexdigest()} ({size} bytes)"
        )


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
        store.delete([f"{attempt}/{name}" for name in (SIGNATURE_NAME, *(file.path for file in files))])
    except StageFailure as error:
        # The artifact is complete without this; a policy that forbids deleting is no reason to fail.
        log.warning("files of the superseded attempt %s stay in the store: %s", attempt, error.message)


def _output(job: JobSpec) -> StoreAccess:
    if job.artifact is None:
        raise StageFailure("InvalidSpec", f"a {job.work.stage} job needs `output`: where its artifact goes")
    return job.artifact


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def serving_files(manifest: Manifest) -> list[str]:
    """The files of a model's artifact that answering needs.

    Raises:
        StageFailure: the artifact holds no model.
    """
    if manifest.model is None:
        raise StageFailure(
            "NotAModel", f"the artifact of the address {manifest.address} is a {manifest.kind}, no model"
        )
    return manifest.model.serving_files
