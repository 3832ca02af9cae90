"""Artifacts: the manifest makes them, comes last, is put once, and everything that is read is checked against it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact, JobSpec
from kaon_jobs.errors import ArtifactCorrupted, ObjectNotFound, StageFailure
from kaon_jobs.store import artifact

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32


@pytest.fixture
def job(tmp_path: Path) -> JobSpec:
    return JobSpec.model_validate(
        {
            "provenance": {
                "kind": "TrainingRun",
                "namespace": "n",
                "name": "m",
                "uid": "u",
                "generation": 1,
                "kaonVersion": "0",
                "image": "i",
            },
            "inputDigest": DIGEST,
            "declaration": DIGEST,
            "output": {"uri": f"file:///mnt{tmp_path}/store/trainingruns"},
            "content": {"base-model": OTHER},
            "work": {
                "stage": "train",
                "task": "text-classification",
                "dataset": {"uri": "file:///d", "digest": DIGEST},
                "model": {"base": "s3://models/m"},
                "recipe": {},
                "checkpoint": {},
            },
        }
    )


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "sub" / "card.json").write_bytes(b"{}")
    return folder


def result() -> Result:
    return Result(start_time="2026-01-01T00:00:00Z", completion_time="2026-01-01T00:00:01Z")


def publish(job: JobSpec, made: Path, attempt: str = "one") -> Result:
    return artifact.publish(job, made, kind="model", attempt=attempt, result=result())


def source_of(published: Result) -> InputArtifact:
    assert published.artifact is not None
    return InputArtifact(uri=published.artifact.uri, digest=published.artifact.digest)


def folder_of(job: JobSpec) -> Path:
    assert job.artifact is not None
    return Path(job.artifact.uri.removeprefix("file:///mnt"))


def test_the_digest_of_an_artifact_is_the_sha256_of_its_manifest(job: JobSpec, made: Path) -> None:
    published = publish(job, made)
    assert published.artifact is not None
    manifest = (folder_of(job) / "kaon.json").read_bytes()
    assert published.artifact.digest == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    assert published.artifact.size_bytes == len(b"weights") + len(b"{}")
    assert (folder_of(job) / "one" / "sub" / "card.json").read_bytes() == b"{}"


def test_a_folder_without_a_manifest_is_no_artifact(job: JobSpec) -> None:
    (folder_of(job) / "one").mkdir(parents=True)
    (folder_of(job) / "one" / "model.onnx").write_bytes(b"half")
    assert artifact.find(job) is None


def test_a_finished_artifact_is_found_with_its_result_marked_as_reused(job: JobSpec, made: Path) -> None:
    published = publish(job, made)
    found = artifact.find(job)
    assert found is not None
    assert found.result(reused=True) == published.model_copy(update={"reused": True})
    assert found.manifest.result.artifact is None
    assert found.manifest.inputs == {"dataset": DIGEST}


def test_the_second_attempt_adopts_the_artifact_of_the_first_and_leaves_nothing(job: JobSpec, made: Path) -> None:
    first = publish(job, made, "one")
    (made / "model.onnx").write_bytes(b"other weights")
    second = publish(job, made, "two")
    assert second.artifact == first.artifact
    assert second.reused
    assert [path.name for path in (folder_of(job) / "two").rglob("*") if path.is_file()] == []


def test_a_verdict_names_no_artifact(job: JobSpec, made: Path) -> None:
    published = artifact.publish(job, made, kind="verdict", attempt="one", result=result())
    assert published.artifact is None


def test_what_is_fetched_is_what_was_published(job: JobSpec, made: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    fetched = artifact.fetch(
        source_of(publish(job, made)),
        tmp_path / "target",
        kinds={"model"},
        progress=lambda done, total: heard.append((done, total)),
    )
    assert (tmp_path / "target" / "model.onnx").read_bytes() == b"weights"
    assert (tmp_path / "target" / "sub" / "card.json").read_bytes() == b"{}"
    assert fetched.manifest.kind == "model"
    assert heard[-1] == (9, 9)


def test_only_the_files_asked_for_are_copied(job: JobSpec, made: Path, tmp_path: Path) -> None:
    source = source_of(publish(job, made))
    artifact.fetch(source, tmp_path / "target", kinds={"model"}, only=["model.onnx"])
    assert [path.name for path in (tmp_path / "target").rglob("*")] == ["model.onnx"]
    with pytest.raises(StageFailure, match=r"has no tokenizer\.json; it has model\.onnx, sub/card\.json"):
        artifact.fetch(source, tmp_path / "target", kinds={"model"}, only=["tokenizer.json"])


def test_one_changed_byte_is_refused_with_the_file_and_both_digests(job: JobSpec, made: Path, tmp_path: Path) -> None:
    source = source_of(publish(job, made))
    (folder_of(job) / "one" / "model.onnx").write_bytes(b"weighty")
    with pytest.raises(ArtifactCorrupted) as caught:
        artifact.fetch(source, tmp_path / "target", kinds={"model"})
    assert not caught.value.retriable
    for part in ("one/model.onnx", hashlib.sha256(b"weights").hexdigest(), hashlib.sha256(b"weighty").hexdigest()):
        assert part in caught.value.message
    assert not (tmp_path / "target" / "model.onnx").exists()


def test_a_changed_manifest_is_refused_with_both_digests(job: JobSpec, made: Path, tmp_path: Path) -> None:
    source = source_of(publish(job, made))
    manifest = folder_of(job) / "kaon.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"model"', b'"modem"'))
    actual = hashlib.sha256(manifest.read_bytes()).hexdigest()
    with pytest.raises(ArtifactCorrupted, match=f"expected {source.digest}, found sha256:{actual}"):
        artifact.fetch(source, tmp_path / "target", kinds={"model"})


def test_an_artifact_that_is_gone_is_named(job: JobSpec, tmp_path: Path) -> None:
    source = InputArtifact(uri=f"file:///mnt{tmp_path}/nothing", digest=DIGEST)
    with pytest.raises(ObjectNotFound, match="there is no artifact under") as caught:
        artifact.load(source, kinds={"model"})
    assert caught.value.reason == "ArtifactNotFound"


def test_an_artifact_whose_files_were_deleted_is_not_reused(job: JobSpec, made: Path) -> None:
    publish(job, made)
    (folder_of(job) / "one" / "model.onnx").unlink()
    with pytest.raises(ArtifactCorrupted, match=r"model\.onnx is in the manifest and not in the store\. Delete"):
        artifact.find(job)


def test_a_manifest_of_another_address_is_not_reused(job: JobSpec, made: Path) -> None:
    publish(job, made)
    other = job.model_copy(update={"declaration": OTHER})
    shutil.copytree(folder_of(job), folder_of(other))
    with pytest.raises(ArtifactCorrupted, match="lies in the folder of another"):
        artifact.find(other)


def test_a_manifest_that_is_no_manifest_is_called_so(job: JobSpec) -> None:
    folder_of(job).mkdir(parents=True)
    (folder_of(job) / "kaon.json").write_text("{}")
    with pytest.raises(ArtifactCorrupted, match="is not a manifest"):
        artifact.find(job)
