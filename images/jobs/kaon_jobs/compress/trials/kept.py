"""Finished work, kept in the store beside the stages' folders, so that nobody repeats it.

A trial is addressed by the digest of all that can change its outcome, and so is a trained model in the middle of a
pipeline, which several trials start from. Budget and limits are not part of it: a pod that was killed, a search that is
widened and a budget that is edited find the trials that were made for the same model. Records are written after their
files, name each file's SHA-256 and their own place, and are signed: work that is half-written, moved or another's is
none. Touches the store only.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from kaon.api.base import ApiModel
from kaon.api.compressionjob import Step
from kaon.contract.digest import canonical_json, digest_of, short
from kaon_jobs.compress.families.forms import CONFIG_FILE, DESCRIPTIONS, WEIGHTS_FILE, is_trained_form
from kaon_jobs.errors import ArtifactCorrupted, ObjectNotFound
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE
from kaon_jobs.predict.onnx_text import TOKENIZER_FILE
from kaon_jobs.store.objectstore import Store, safe_path, sha256_file
from kaon_jobs.store.trust import seal, unseal

FORMAT = 5
"""Part of every trial's digest: raise it when a technique or a measurement changes what it means."""
FOLDER = "trials"
RECORD_TYPE = "application/vnd.kaon.dev.trial.v1+json"
RECORD = "trial.json"
TRAINED = "trained.json"
SHARED = "shared"
"""What all trials of a question share, like the teacher's answers."""
KEPT = (MODEL_FILE, TOKENIZER_FILE, CARD_FILE, CONFIG_FILE)
"""Of a trial's model: what serves, and what it is made of."""


class TrialRecord(ApiModel):
    """What a trial found, as raw as figures can be derived from."""

    name: str
    steps: list[Step]
    failure: str | None = Field(default=None, description="Why a technique could not do it; then nothing below is set.")
    files: dict[str, str] = Field(default_factory=dict, description="SHA-256 of each file of the model.")
    size_bytes: int = 0
    predictions: list[float] | list[list[float]] = Field(
        default_factory=list, description="Of each validation row used: the class's id, the number, or the items'."
    )
    divergence: float | None = Field(default=None, description="Of these rows' answers from the baseline's.")
    baseline_ms: list[float] = Field(default_factory=list)
    candidate_ms: list[float] = Field(default_factory=list)
    peak_memory_bytes: int | None = None
    seconds: float = 0.0


class TrialStore:
    """The trials of one question: these inputs, this processor, this seed."""

    def __init__(self, stages: Store, question: dict[str, str | int]) -> None:
        """`stages` is the folder that holds the stages' own folders."""
        self._question = {**question, "format": FORMAT}
        self._question_digest = digest_of(self._question)
        self._folder = stages.child(f"{FOLDER}/{short(self._question_digest, 16)}")

    def find(self, steps: list[Step]) -> TrialRecord | None:
        """The record of a finished trial, or None."""
        try:
            return TrialRecord.model_validate(self._open(f"{self._path(steps)}/{RECORD}"))
        except (ObjectNotFound, ValidationError, ArtifactCorrupted):
            # A record that cannot be read is a trial that is not finished: it is made again and written over.
            return None

    def put(self, record: TrialRecord, model: Path | None) -> str:
        """Keeps a trial with its model directory, if it has one; returns where."""
        path = self._path(record.steps)
        if model is not None:
            record = record.model_copy(update={"files": self._upload(path, model, KEPT)})
        self._close(f"{path}/{RECORD}", record.wire())
        return f"{self._folder.uri}/{path}"

    def fetch_model(self, record: TrialRecord, target: Path) -> bool:
        """Copies a trial's model into a directory. False when the store has none, or another one."""
        return self._download(self._path(record.steps), record.files, target)

    def keep_trained(self, steps: list[Step], model: Path) -> None:
        """Keeps the trained model that these steps make."""
        path = self._path(steps)
        # A network has no form but the exported one.
        form = (WEIGHTS_FILE, *DESCRIPTIONS) if is_trained_form(model) else (MODEL_FILE,)
        files = self._upload(path, model, (*form, CARD_FILE))
        self._close(f"{path}/{TRAINED}", files)

    def fetch_trained(self, steps: list[Step], target: Path) -> bool:
        """Copies the trained model of these steps into a directory. False when no attempt has finished it."""
        path = self._path(steps)
        try:
            files = self._open(f"{path}/{TRAINED}")
        except (ObjectNotFound, ArtifactCorrupted):
            return False
        return self._download(path, files, target)

    def read(self, name: str) -> bytes | None:
        """What all trials share under a name, None when there is nothing."""
        try:
            expected = self._open(f"{SHARED}/{name}.json")["sha256"]
            data = self._folder.read(f"{SHARED}/{name}")
        except (ObjectNotFound, ArtifactCorrupted):
            return None
        return data if hashlib.sha256(data).hexdigest() == expected else None

    def write(self, name: str, data: bytes) -> None:
        """Shares bytes under a name."""
        self._folder.write(f"{SHARED}/{name}", data)
        self._close(f"{SHARED}/{name}.json", {"sha256": hashlib.sha256(data).hexdigest()})

    def forget_models(self) -> None:
        """Deletes the models of all trials, which are large; what was found out about them stays."""
        found = [entry.path for entry in self._folder.entries()]
        self._folder.delete([path for path in found if not path.endswith(f"/{RECORD}") and not path.startswith(SHARED)])

    def _close(self, path: str, said: dict[str, Any]) -> None:
        """Writes a signed record."""
        place = f"{self._question_digest}/{path}"
        self._folder.write(path, seal(RECORD_TYPE, canonical_json({"place": place, "said": said})))

    def _open(self, path: str) -> dict[str, Any]:
        """Reads a signed record.

        Raises:
            ObjectNotFound: there is none.
            ArtifactCorrupted: nobody trusted has signed it, or it was signed for another place.
        """
        where, place = f"{self._folder.uri}/{path}", f"{self._question_digest}/{path}"
        record: dict[str, Any] = json.loads(unseal(RECORD_TYPE, self._folder.read(path), where))
        if record.get("place") != place:
            raise ArtifactCorrupted(f"{where} is the record of {record.get('place')}, not of {place}")
        said: dict[str, Any] = record["said"]
        return said

    def _upload(self, path: str, model: Path, names: tuple[str, ...]) -> dict[str, str]:
        there = [name for name in names if (model / name).is_file()]
        for name in there:
            self._folder.upload(f"{path}/{name}", model / name)
        return {name: sha256_file(model / name) for name in there}

    def _download(self, path: str, files: dict[str, str], target: Path) -> bool:
        for name, digest in files.items():
            try:
                self._folder.download(f"{path}/{name}", target / safe_path(name))
            except ObjectNotFound:
                return False
            if sha256_file(target / name) != digest:
                return False
        return bool(files)

    def _path(self, steps: list[Step]) -> str:
        return short(digest_of({**self._question, "steps": [step.declared() for step in steps]}), 16)
