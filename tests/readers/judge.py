"""Reads one input with the real dataset stage, and says what is wrong with what came out."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fixtures.provenance import PROVENANCE
from readers.inputs import Input

from kaon.contract.digest import digest_of
from kaon.contract.jobspec import DatasetWork, JobSpec
from kaon.contract.signing import SigningKey
from kaon_jobs.context import Context
from kaon_jobs.data.fetch import fetch_sources
from kaon_jobs.data.read import read_sources
from kaon_jobs.errors import StageFailure
from kaon_jobs.programs import dataset as stage
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.store.trust import TRUST_VARIABLE, write_keys

os.environ["KAON_CLAIMS_DIR"] = "/"
if TRUST_VARIABLE not in os.environ:
    os.environ[TRUST_VARIABLE] = tempfile.mkdtemp(prefix="keys-")
    write_keys(Path(os.environ[TRUST_VARIABLE]), SigningKey.derive(bytes(32), "test"))
MADE_FOR_DIVIDING = {"ClassTooSmall", "TestSplitEmpty", "TrainSplitEmpty", "TooFewClasses", "UnknownClass"}
READ, REFUSED, WRONG = "read", "refused", "wrong"


def judge(one: Input, folder: Path) -> tuple[str, str]:
    """READ, REFUSED or WRONG, and a sentence. `folder` is emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / one.name).write_bytes(one.data)
    work: dict[str, Any] = {
        "stage": "dataset",
        "task": "text-classification",
        "sources": [{"uri": f"file:///mnt{folder}/{one.name}"}],
        "format": "auto",
        "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
        "clean": {},
        "split": {},
        **one.changes,
    }
    try:
        asked = DatasetWork.model_validate(work)
        context = Context(Reporter(None, None), folder / "scratch", "attempt-1")
        table, (source,) = read_sources(asked, fetch_sources(asked, context), lambda uri, share: None)
    except StageFailure as failure:
        return _refused(one, failure)
    except Exception as error:
        return WRONG, f"{type(error).__name__}: {error}"
    found = list(zip(table.texts, table.labels, strict=True))
    if one.exact and found != list(one.rows):
        return WRONG, f"{len(found)} rows differ from the {len(one.rows)} written"
    if one.untouched is not None and (lost := _first_lost(found, list(one.untouched))) is not None:
        return WRONG, f"the untouched row {lost!r} is lost; {len(found)} rows were read, {source.unreadable} refused"
    if one.name == "x.parquet" and len(found) + source.unreadable != len(one.rows):
        return WRONG, f"{len(found)} rows were read and {source.unreadable} refused of {len(one.rows)}"
    lines = _count(one)
    if lines is not None and lines != len(table) + source.unreadable:
        return WRONG, f"{lines} lines hold rows, {len(table)} rows were read and {source.unreadable} refused"
    return _stage(one, work, folder)


def _refused(one: Input, failure: StageFailure) -> tuple[str, str]:
    said = f"{failure.reason}: {failure.message}"
    try:
        said.encode()
    except UnicodeEncodeError:
        return WRONG, f"a message that cannot be written: {said!a}"
    if failure.retriable or failure.reason == "InternalError":
        return WRONG, f"retried: {said}"
    if any(len(text) > 12 and text in failure.message for text, _ in one.rows):
        return WRONG, f"a message that repeats a text: {said}"
    if one.name not in failure.message or not failure.message.endswith((".", "?")):
        return WRONG, f"without the file, or no whole sentence: {said}"
    if one.damage == "none" and not (failure.reason == "EncodingUnknown" and "encoding" not in one.changes):
        return WRONG, f"nothing is wrong with it: {said}"
    return REFUSED, said


def _stage(one: Input, work: dict[str, Any], folder: Path) -> tuple[str, str]:
    digest = digest_of({"work": work})
    job = JobSpec.model_validate(
        {
            "provenance": PROVENANCE,
            "inputDigest": digest,
            "declaration": digest,
            "output": {"uri": f"file:///mnt{folder}/store"},
            "work": work,
        }
    )
    (folder / "work").mkdir()
    parsed: Any = job.work
    try:
        stage.run(job, parsed, Context(Reporter(None, None), folder / "work", "attempt-1"))
    except StageFailure as failure:
        if failure.reason in MADE_FOR_DIVIDING or failure.reason.startswith("TooMany"):
            return READ, failure.reason
        return WRONG, f"read, and then refused: {failure.reason}: {failure.message}"
    except Exception as error:
        return WRONG, f"{type(error).__name__}: {error}"
    return READ, ""


def _first_lost(found: list[Any], wanted: list[Any]) -> Any:
    """The first of the wanted rows that is not found behind the one before it."""
    rest = iter(found)
    return next((row for row in wanted if not any(row == other for other in rest)), None)


def _count(one: Input) -> int | None:
    """The rows of a file by its lines alone, where each line is a row: a count that shares nothing with the readers."""
    if one.name not in ("x.csv", "x.tsv", "x.jsonl"):
        return None
    text = one.data.decode(one.codec, "replace")
    if "\ufffd" in text or (one.name != "x.jsonl" and '"' in text):
        return None
    lines = [line for line in re.split("\r\n|\r|\n", text) if line.strip(" ")]
    return len(lines) - (one.name != "x.jsonl")
