"""Checkpoints in the store: `<artifact>/checkpoints/<step>/<attempt>/…`, and a signed record beside it, put last.

A checkpoint without its record, with a record that nobody trusted has signed, or with other bytes than the record
names, is none. Uploads run in a thread, one at a time. Touches the store and the trainer's output directory.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, ValidationError

from kaon.api.base import ApiModel
from kaon.api.common import Checkpoint
from kaon.contract.digest import canonical_json
from kaon.contract.manifest import ArtifactFile
from kaon_jobs.context import now
from kaon_jobs.errors import ArtifactCorrupted, ObjectNotFound, StageFailure, StoreUnreachable
from kaon_jobs.store.objectstore import Store, safe_path, sha256_file
from kaon_jobs.store.trust import seal, unseal

log = logging.getLogger(__name__)

FOLDER = "checkpoints"
RECORD = "checkpoint.json"
RECORD_TYPE = "application/vnd.kaon.dev.checkpoint.v1+json"


class CheckpointRecord(ApiModel):
    """What is signed of a checkpoint."""

    address: str = Field(description="Of the artifact that it is on the way to.")
    step: int
    attempt: str
    files: list[ArtifactFile]


class Checkpoints:
    """The checkpoints of one stage's output folder."""

    def __init__(
        self, output: Store, address: str, attempt: str, keep: int, told: Callable[[Checkpoint], None]
    ) -> None:
        self._store = output.child(FOLDER)
        self._address = address
        self._attempt = attempt
        self._keep = keep
        self._told = told
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def save(self, step: int, directory: Path) -> None:
        """Uploads a checkpoint in the background and then removes the directory. Waits for the one before."""
        self.wait()
        self._thread = threading.Thread(target=self._upload, args=(step, directory), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until the upload under way is done.

        Raises:
            StageFailure: the store refused it. A store that is only unreachable costs a checkpoint, not the training.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if isinstance(failure, StoreUnreachable):
            log.warning("a checkpoint was lost: %s", failure.message)
        elif failure is not None:
            raise failure

    def restore(self, target: Path) -> int | None:
        """Copies the newest complete checkpoint into `target` and returns its step; None when there is none."""
        for step in sorted(self._steps(), reverse=True):
            shutil.rmtree(target, ignore_errors=True)
            try:
                if self._download(step, target):
                    return step
            except (ObjectNotFound, ValidationError, ArtifactCorrupted) as error:
                log.warning("the checkpoint of step %d is of no use, trying an older one: %s", step, error)
        return None

    def clear(self) -> None:
        """Deletes all of them: the finished artifact has made them useless."""
        self._delete(self._steps())

    def _upload(self, step: int, directory: Path) -> None:
        try:
            files = [
                ArtifactFile(path=path.name, sha256=sha256_file(path), size_bytes=path.stat().st_size)
                for path in sorted(directory.iterdir())
                # Nothing resumes from the pickled arguments: the recipe is in the spec.
                if path.is_file() and path.name != "training_args.bin"
            ]
            for file in files:
                self._store.upload(f"{step}/{self._attempt}/{file.path}", directory / file.path)
            record = CheckpointRecord(address=self._address, step=step, attempt=self._attempt, files=files)
            self._store.write(f"{step}/{RECORD}", seal(RECORD_TYPE, canonical_json(record.wire())))
            self._told(Checkpoint(step=step, uri=f"{self._store.uri}/{step}", time=now()))
            self._delete([old for old in sorted(self._steps()) if old <= step][: -self._keep])
        except Exception as error:
            # Raised again in wait(), in the thread that trains.
            self._failure = error
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _download(self, step: int, target: Path) -> bool:
        where = f"{self._store.uri}/{step}/{RECORD}"
        record = CheckpointRecord.model_validate_json(unseal(RECORD_TYPE, self._store.read(f"{step}/{RECORD}"), where))
        if (record.address, record.step) != (self._address, step):
            raise ArtifactCorrupted(f"{where} is of another training or step: {record.address}, step {record.step}")
        safe_path(record.attempt)
        for file in record.files:
            local = target / safe_path(file.path)
            actual = self._store.download(f"{step}/{record.attempt}/{file.path}", local)
            if actual != file.sha256:
                log.warning(
                    "the checkpoint of step %d is damaged, trying an older one: %s should have sha256 %s, it has %s",
                    step,
                    file.path,
                    file.sha256,
                    actual,
                )
                return False
        return True

    def _steps(self) -> list[int]:
        """Steps with a record."""
        names = [entry.path.split("/") for entry in self._store.entries()]
        return [int(name[0]) for name in names if len(name) == 2 and name[1] == RECORD and name[0].isdigit()]

    def _delete(self, steps: list[int]) -> None:
        for step in steps:
            try:
                # The record first: from then on it is no checkpoint, however far this gets.
                self._store.delete([f"{step}/{RECORD}"])
                self._store.delete([f"{step}/{entry.path}" for entry in self._store.entries(str(step))])
            except StageFailure as error:
                log.warning("the old checkpoint of step %d stays in the store: %s", step, error.message)
