"""A file store with a tiny encoder and data in it, and job specs over it, for tests that run whole stages.

Whole stages run once a session: a dataset and a trained model are made by the same code as in a pod.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kaon.api.report import Result
from kaon.contract.digest import digest_of
from kaon.contract.jobspec import JobSpec
from kaon_jobs.context import Context
from kaon_jobs.report.reporter import Reporter

ROOT = Path(__file__).resolve().parents[3]


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tinymodel = _load(ROOT / "tests" / "fixtures" / "tinymodel.py")


def provenance(kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "namespace": "test",
        "name": "tiny",
        "uid": "0",
        "generation": 1,
        "kaonVersion": "0.0.0",
        "image": "none",
    }


@pytest.fixture(scope="session", autouse=True)
def claims() -> Iterator[None]:
    """Behind file:///mnt stands any path of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAON_CLAIMS_DIR", "/")
        yield


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Opening a store clears the environment, in a pod for good; here until the test ends."""
    before = dict(os.environ)
    monkeypatch.setattr("kaon_jobs.store.options._identity", {})
    yield
    os.environ.update(before)


@dataclass
class Shop:
    """A folder with raw data, a base model and an artifact store; makes job specs over them."""

    root: Path
    results: dict[str, Result] = field(default_factory=dict)

    @property
    def store(self) -> str:
        return f"file:///mnt{self.root}/store"

    def job(self, plural: str, work: dict[str, Any], token: str = "") -> JobSpec:
        digest = digest_of({"work": work, "token": token})
        return JobSpec.model_validate(
            {
                "provenance": provenance(plural),
                "inputDigest": digest,
                "declaration": digest,
                "output": {"uri": f"{self.store}/{plural}"},
                # Nothing but artifacts goes into these.
                **({"content": {}} if work["stage"] in ("compress", "evaluate") else {}),
                "work": work,
            }
        )

    def dataset_work(self, **changes: Any) -> dict[str, Any]:
        return {
            "stage": "dataset",
            "task": "text-classification",
            "sources": [
                {"uri": f"file:///mnt{self.root}/data/train.csv", "split": "train"},
                {"uri": f"file:///mnt{self.root}/data/test.csv", "split": "test"},
            ],
            "format": "auto",
            "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
            "clean": {},
            "split": {"validation": 0.2},
            **changes,
        }

    def train_work(self, dataset: Result, checkpoint: dict[str, Any] | None = None, **recipe: Any) -> dict[str, Any]:
        assert dataset.artifact is not None
        return {
            "stage": "train",
            "task": "text-classification",
            "dataset": {"uri": dataset.artifact.uri, "digest": dataset.artifact.digest},
            "model": {"base": f"file:///mnt{self.root}/model"},
            "recipe": {**tinymodel.TINY_RECIPE, **recipe},
            "checkpoint": checkpoint or {},
        }


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Raw data and a base model in a folder of their own."""
    root = tmp_path_factory.mktemp("shop")
    tinymodel.write_model(root / "model")
    tinymodel.write_data(root / "data")
    return Shop(root)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """An attempt outside of any cluster."""
    workdir = tmp_path / "work"
    workdir.mkdir()
    return Context(Reporter(None, None), workdir, "attempt-1")


@pytest.fixture(scope="session")
def dataset(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The finished dataset artifact."""
    from kaon_jobs.programs import dataset as stage

    job = shop.job("datasets", shop.dataset_work())
    work: Any = job.work
    return stage.run(job, work, Context(Reporter(None, None), tmp_path_factory.mktemp("dataset"), "attempt-1"))


@pytest.fixture(scope="session")
def trained(shop: Shop, dataset: Result, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The finished artifact of a model trained on it."""
    from kaon_jobs.programs import train as stage

    job = shop.job("trainingruns", shop.train_work(dataset))
    work: Any = job.work
    return stage.run(job, work, Context(Reporter(None, None), tmp_path_factory.mktemp("train"), "attempt-1"))


@pytest.fixture
def kaon_job(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `kaon-job` as a process, as a pod would; ends what a test leaves running."""
    started: list[subprocess.Popen[str]] = []

    def start(job: JobSpec, **environment: str) -> subprocess.Popen[str]:
        spec = tmp_path / f"spec-{len(started)}.json"
        spec.write_text(job.model_dump_json(by_alias=True, exclude_none=True))
        process = subprocess.Popen(
            [sys.executable, "-m", "kaon_jobs.main", job.work.stage, "--spec", str(spec)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "KAON_TERMINATION_LOG": str(tmp_path / "termination"), **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            threading.Thread(target=process.communicate).start()
