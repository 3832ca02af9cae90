"""Runs the dataset stage, or only its reading, over files that a test writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fixtures.provenance import PROVENANCE

from kaon.api.report import Result
from kaon.contract.budgets import Budgets
from kaon.contract.digest import digest_of
from kaon.contract.jobspec import DatasetWork, JobSpec
from kaon_jobs.context import Context
from kaon_jobs.data.fetch import fetch_sources
from kaon_jobs.data.read import ReadSource, read_sources
from kaon_jobs.data.rows import Table
from kaon_jobs.programs import dataset as stage
from kaon_jobs.report.reporter import Reporter

Read = Callable[..., tuple[Table, list[ReadSource]]]


@dataclass(frozen=True)
class Made:
    """A finished dataset, as its Report and its card tell of it."""

    result: Result
    card: dict[str, Any]
    page: str

    @property
    def rows(self) -> int:
        assert self.result.dataset is not None
        return self.result.dataset.quality.rows_read


def work_over(root: Path, sources: Sequence[Any], **changes: Any) -> dict[str, Any]:
    """The work of a Dataset over files below `root`: names, or sources with a `name` instead of their uri."""
    named = [{"name": source} if isinstance(source, str) else dict(source) for source in sources]
    return {
        "stage": "dataset",
        "task": "text-classification",
        "sources": [{"uri": f"file:///mnt{root}/{source.pop('name')}", **source} for source in named],
        "format": "auto",
        "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
        "clean": {},
        "split": {"validation": 0.2},
        **changes,
    }


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads sources and cleans nothing."""

    def reading(*sources: Any, **changes: Any) -> tuple[Table, list[ReadSource]]:
        work = DatasetWork.model_validate(work_over(tmp_path, sources, **changes))
        context = Context(Reporter(None, None), tmp_path / ".scratch", "attempt-1")
        return read_sources(work, fetch_sources(work, context), lambda uri, share: None)

    return reading


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    """Runs the whole stage."""

    def making(*sources: Any, budgets: Budgets | None = None, **changes: Any) -> Made:
        output = {"uri": f"file:///mnt{tmp_path}/.store/datasets/x"}
        digest = digest_of({"sources": list(map(str, sources)), "changes": changes})
        work_spec = work_over(tmp_path, sources, **changes)
        job = JobSpec.model_validate(
            {
                "provenance": PROVENANCE,
                "inputDigest": digest,
                "declaration": digest,
                "output": output,
                "work": work_spec,
            }
        )
        workdir = tmp_path / ".work"
        # Of an earlier call in the same test.
        shutil.rmtree(workdir, ignore_errors=True)
        workdir.mkdir()
        work: Any = job.work
        context = Context(Reporter(None, None), workdir, "attempt-1", budgets=budgets or Budgets())
        result = stage.run(job, work, context)
        out = workdir / "dataset"
        return Made(result, json.loads((out / "card.json").read_bytes()), (out / "report.html").read_text())

    return making
