"""Finished trials, kept in the stage's folder of the store, so that a pod that was killed repeats none of them.

A trial is addressed by the digest of all that can change its outcome. Its record is written after its model, and names
the model's SHA-256: a half-written trial is none. Touches the store only.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from kaon.api.base import ApiModel
from kaon.api.compressionjob import Step
from kaon.contract.digest import digest_of, short
from kaon_jobs.errors import ObjectNotFound
from kaon_jobs.onnx_text import MODEL_FILE
from kaon_jobs.store import Store, sha256_file

FORMAT = 1
"""Part of every trial's digest: raise it when a technique or a measurement changes what it means."""
FOLDER = "trials"
RECORD = "trial.json"


class TrialRecord(ApiModel):
    """What a trial found, as raw as figures can be derived from."""

    name: str
    steps: list[Step]
    failure: str | None = Field(default=None, description="Why a technique could not do it; then nothing below is set.")
    model_sha256: str | None = None
    size_bytes: int = 0
    predictions: list[int] = Field(default_factory=list, description="Class of each validation row used.")
    baseline_ms: list[float] = Field(default_factory=list)
    candidate_ms: list[float] = Field(default_factory=list)
    peak_memory_bytes: int | None = None
    seconds: float = 0.0


class TrialStore:
    """The trials of one question: these inputs, this processor, this seed."""

    def __init__(self, folder: Store, question: dict[str, str | int]) -> None:
        self._folder = folder
        self._question = {**question, "format": FORMAT}

    def find(self, steps: list[Step]) -> TrialRecord | None:
        """The record of a finished trial, or None."""
        try:
            return TrialRecord.model_validate_json(self._folder.read(f"{self._path(steps)}/{RECORD}"))
        except (ObjectNotFound, ValidationError):
            # A record that cannot be read is a trial that is not finished: it is made again and written over.
            return None

    def put(self, record: TrialRecord, model: Path | None) -> str:
        """Keeps a trial; returns where."""
        path = self._path(record.steps)
        if model is not None:
            self._folder.upload(f"{path}/{MODEL_FILE}", model)
        self._folder.write(f"{path}/{RECORD}", record.model_dump_json(by_alias=True, exclude_none=True).encode())
        return f"{self._folder.uri}/{path}"

    def fetch_model(self, record: TrialRecord, target: Path) -> bool:
        """Copies a trial's model to a file. False when the store has none, or another one."""
        try:
            self._folder.download(f"{self._path(record.steps)}/{MODEL_FILE}", target)
        except ObjectNotFound:
            return False
        return sha256_file(target) == record.model_sha256

    def clear(self) -> None:
        """Deletes all trials: after the artifact is there, their figures lie in its report."""
        self._folder.delete([f"{FOLDER}/{entry.path}" for entry in self._folder.entries(FOLDER)])

    def _path(self, steps: list[Step]) -> str:
        digest = digest_of({**self._question, "steps": [step.declared() for step in steps]})
        return f"{FOLDER}/{short(digest, 16)}"
