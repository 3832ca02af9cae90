"""An artifact is addressed by the bytes that a declaration stands for: the same text over other bytes never meets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaon.api.report import Result
from kaon.contract.jobspec import JobSpec, StoreAccess
from kaon_jobs.context import Context
from kaon_jobs.programs import dataset as stage
from kaon_jobs.programs.content import with_content
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.store import artifact


def context(folder: Path) -> Context:
    folder.mkdir(parents=True)
    return Context(Reporter(None, None), folder, "one")


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """mounted(name): from then on that claim is mounted behind /mnt."""

    def mount(name: str) -> Path:
        folder = tmp_path / "claims" / name
        (folder / "data").mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("KAON_CLAIMS_DIR", str(folder))
        return folder

    return mount


def job_of(shop: Any) -> JobSpec:
    sources = [{"uri": "file:///mnt/data/rows.csv"}]
    job: JobSpec = shop.job("datasets", shop.dataset_work(sources=sources))
    return job


def rows(text: str) -> str:
    kinds = ("ham", "spam")
    return "text,label\n" + "".join(f"{text} number {row},{kinds[row % 2]}\n" for row in range(40))


def test_two_claims_behind_one_path_are_two_addresses(shop: Any, mounted: Any, tmp_path: Path) -> None:
    found = {}
    for name in ("one", "other"):
        (mounted(name) / "data" / "rows.csv").write_text(rows(name))
        found[name] = with_content(job_of(shop), context(tmp_path / name))
    assert found["one"].declaration == found["other"].declaration
    assert found["one"].address != found["other"].address


def test_the_same_bytes_behind_another_claim_are_found_again(shop: Any, mounted: Any, tmp_path: Path) -> None:
    found = {}
    for name in ("laptop", "cluster"):
        (mounted(name) / "data" / "rows.csv").write_text(rows("the same"))
        found[name] = with_content(job_of(shop), context(tmp_path / name))
    assert found["laptop"].artifact == found["cluster"].artifact


def test_a_changed_source_is_another_artifact_and_the_old_one_is_not_taken_for_it(
    shop: Any, mounted: Any, tmp_path: Path
) -> None:
    folder = mounted("one")
    (folder / "store").mkdir()
    (folder / "data" / "rows.csv").write_text(rows("before"))
    # The shop's own store lies outside of this claim.
    job = job_of(shop).model_copy(update={"output": StoreAccess(uri="file:///mnt/store")})
    work: Any = job.work
    first = stage.run(job, work, context(tmp_path / "first"))
    assert artifact.find(with_content(job, context(tmp_path / "again"))) is not None
    (folder / "data" / "rows.csv").write_text(rows("after"))
    later = with_content(job, context(tmp_path / "later"))
    assert artifact.find(later) is None
    assert first.artifact is not None and later.artifact is not None and first.artifact.uri != later.artifact.uri


def test_a_base_model_with_other_weights_is_another_address(shop: Any, dataset: Result, tmp_path: Path) -> None:
    work = shop.train_work(dataset)
    first = with_content(shop.job("trainingruns", work), context(tmp_path / "first"))
    model = shop.root / "model" / "config.json"
    before = model.read_text()
    try:
        model.write_text(before + "\n")
        second = with_content(shop.job("trainingruns", work), context(tmp_path / "second"))
    finally:
        model.write_text(before)
    assert first.address != second.address
    assert first.content is not None and set(first.content) == {"base-model"}
