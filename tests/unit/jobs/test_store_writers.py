"""A writer of the store makes nobody believe: artifacts, checkpoints and trials are checked by all readers."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from knownkeys import TRUST

from kaon.api.compressionjob import Step
from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact, JobSpec
from kaon_jobs.compress.trials.kept import TrialRecord, TrialStore
from kaon_jobs.errors import ArtifactCorrupted, StageFailure
from kaon_jobs.learn.checkpoints import Checkpoints
from kaon_jobs.store import artifact, trust
from kaon_jobs.store.objectstore import open_store

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
CHANGES = 1000
"""Of each of: an artifact, a checkpoint, a trial."""


def job_over(root: Path, **changes: Any) -> JobSpec:
    source = {"uri": "file:///d", "digest": DIGEST}
    who = {"kind": "CompressionJob", "namespace": "test", "name": "m", "uid": "u", "generation": 1}
    found = JobSpec.model_validate(
        {
            "provenance": {**who, "kaonVersion": "0", "image": "i"},
            "inputDigest": DIGEST,
            "declaration": DIGEST,
            "content": {},
            "output": {"uri": f"file:///mnt{root}/store/test/evaluations"},
            "work": {"stage": "evaluate", "model": source, "dataset": source},
        }
    )
    return found.model_copy(update=changes)


def publish(job: JobSpec, folder: Path, attempt: str = "one") -> Result:
    made = folder / f"made-{attempt}"
    made.mkdir()
    (made / "evaluation.json").write_bytes(b'{"accuracy": 0.91}')
    result = Result(start_time="2026-01-01T00:00:00Z", completion_time="2026-01-01T00:00:01Z")
    return artifact.publish(job, made, kind="verdict", attempt=attempt, result=result)


def folder_of(job: JobSpec) -> Path:
    assert job.artifact is not None
    return Path(job.artifact.uri.removeprefix("file:///mnt"))


@pytest.fixture
def job(tmp_path: Path) -> JobSpec:
    return job_over(tmp_path)


@pytest.fixture
def strangers_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on this process signs and believes as another trust domain does."""

    def use() -> None:
        trust.write_keys(tmp_path / "stranger", TRUST.key("stranger"))
        monkeypatch.setenv(trust.TRUST_VARIABLE, str(tmp_path / "stranger"))

    return use


def read_by_all(job: JobSpec, digest: str, target: Path) -> int:
    """How many of the readers of an artifact take what lies there."""
    assert job.artifact is not None
    source = InputArtifact(uri=job.artifact.uri, digest=digest)
    taken = 0
    readers: list[Callable[[], object]] = [
        lambda: artifact.find(job),
        lambda: artifact.load(source, kinds={"verdict"}),
        lambda: artifact.fetch(source, target, kinds={"verdict"}),
    ]
    for reader in readers:
        try:
            taken += reader() is not None
        except StageFailure:
            continue
    return taken


def test_of_1000_changes_of_an_artifact_no_reader_takes_one(job: JobSpec, tmp_path: Path) -> None:
    publish(job, tmp_path)
    found = artifact.find(job)
    assert found is not None and read_by_all(job, found.digest, tmp_path / "target") == 3
    draw = random.Random(17)
    # Of the signature's file: what is not signed may be written in another way (white space, a key's name).
    files = [path for path in sorted(folder_of(job).rglob("*")) if path.is_file() and path.name != "kaon.sig"]
    accepted = []
    for number in range(CHANGES):
        file = draw.choice(files)
        before = file.read_bytes()
        after = changed(before, draw)
        file.write_bytes(after)
        # `load` reads no files but the manifest, so it is asked only about that.
        readers = read_by_all(job, found.digest, tmp_path / "target") - (file.name != "kaon.json")
        if readers:
            accepted.append((number, file.name, after))
        file.write_bytes(before)
    assert accepted == []


def test_of_1000_changes_of_a_signature_none_makes_another_manifest_believed(job: JobSpec, tmp_path: Path) -> None:
    publish(job, tmp_path)
    draw = random.Random(18)
    signature = folder_of(job) / "one" / "kaon.sig"
    manifest = folder_of(job) / "kaon.json"
    before = signature.read_bytes()
    manifest.write_bytes(manifest.read_bytes().replace(b'"generation":1', b'"generation":2'))
    for _ in range(CHANGES):
        signature.write_bytes(changed(before, draw))
        with pytest.raises(ArtifactCorrupted):
            artifact.find(job)


def changed(data: bytes, draw: random.Random) -> bytes:
    """One bit flipped, one byte gone, one more, or the end cut off."""
    place = draw.randrange(len(data))
    match draw.randrange(4):
        case 0:
            return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
        case 1:
            return data[:place] + data[place + 1 :]
        case 2:
            return data[:place] + bytes([draw.randrange(256)]) + data[place:]
        case _:
            return data[:place]


def test_what_another_trust_domain_has_signed_is_refused_by_name_of_the_key(
    job: JobSpec, tmp_path: Path, strangers_keys: Callable[[], None]
) -> None:
    published = publish(job, tmp_path)
    strangers_keys()
    for read in (lambda: artifact.find(job), lambda: publish(job, tmp_path, "two")):
        with pytest.raises(ArtifactCorrupted, match="is not trusted: none of the 1 trusted keys"):
            read()
    assert published.artifact is None


def test_an_artifact_without_a_signature_is_refused(job: JobSpec, tmp_path: Path) -> None:
    publish(job, tmp_path)
    (folder_of(job) / "one" / "kaon.sig").unlink()
    with pytest.raises(ArtifactCorrupted, match=r"is not trusted: one/kaon\.sig is missing.*Delete .*kaon\.json"):
        artifact.find(job)


def test_a_rivals_manifest_is_not_adopted_unless_it_is_what_this_job_would_have_left(tmp_path: Path) -> None:
    """All are signed with the right key, and lie where this job's artifact should."""
    job = job_over(tmp_path)
    rival = job_over(tmp_path, declaration=OTHER)
    publish(rival, tmp_path)
    shutil.copytree(folder_of(rival), folder_of(job))
    with pytest.raises(ArtifactCorrupted, match="lies in the folder of another"):
        publish(job, tmp_path, "two")
    with pytest.raises(ArtifactCorrupted, match="lies in the folder of another"):
        artifact.find(job)


def test_an_artifact_of_other_inputs_is_not_adopted(tmp_path: Path) -> None:
    job = job_over(tmp_path)
    work = job.work.model_copy(update={"model": InputArtifact(uri="file:///d", digest=OTHER)})
    publish(job_over(tmp_path, work=work), tmp_path)
    with pytest.raises(ArtifactCorrupted, match="should be of inputs"):
        artifact.find(job)


def test_an_artifact_of_another_kind_is_not_read(job: JobSpec, tmp_path: Path) -> None:
    publish(job, tmp_path)
    found = artifact.find(job)
    assert found is not None and job.artifact is not None
    source = InputArtifact(uri=job.artifact.uri, digest=found.digest)
    with pytest.raises(ArtifactCorrupted, match="is of a verdict; model was expected"):
        artifact.load(source, kinds={"model"})


def test_a_manifest_cannot_lead_out_of_its_folder(job: JobSpec, tmp_path: Path) -> None:
    publish(job, tmp_path)
    manifest = folder_of(job) / "kaon.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"attempt":"one"', b'"attempt":"../one"'))
    with pytest.raises(StageFailure, match="would leave its folder"):
        artifact.find(job)


# -- checkpoints ---------------------------------------------------------------------------------------------------


def checkpoints(tmp_path: Path, address: str = DIGEST) -> Checkpoints:
    store = open_store(f"file:///mnt{tmp_path}/store/test/trainingruns/x", None)
    return Checkpoints(store, address, "one", 2, lambda checkpoint: None)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The folder of one checkpoint in the store."""
    local = tmp_path / "checkpoint"
    local.mkdir()
    (local / "model.safetensors").write_bytes(b"weights" * 20)
    kept = checkpoints(tmp_path)
    kept.save(5, local)
    kept.wait()
    assert kept.restore(tmp_path / "restored") == 5
    return tmp_path / "store/test/trainingruns/x/checkpoints/5"


def test_of_1000_changes_of_a_checkpoint_none_is_resumed_from(saved: Path, tmp_path: Path) -> None:
    draw = random.Random(19)
    weights = (saved / "one/model.safetensors").read_bytes()
    record = json.loads((saved / "checkpoint.json").read_bytes())
    for _ in range(CHANGES):
        what = draw.randrange(3)
        after = dict(record)
        if what == 0:
            (saved / "one/model.safetensors").write_bytes(changed(weights, draw))
        elif what == 1:
            after["payload"] = changed(record["payload"].encode(), draw).decode(errors="replace")
        else:
            signature = dict(record["signatures"][0])
            signature["sig"] = changed(signature["sig"].encode(), draw).decode(errors="replace")
            after["signatures"] = [signature]
        (saved / "checkpoint.json").write_text(json.dumps(after))
        assert checkpoints(tmp_path).restore(tmp_path / "restored") is None, (what, after)
        (saved / "one/model.safetensors").write_bytes(weights)
    (saved / "checkpoint.json").write_text(json.dumps(record))
    assert checkpoints(tmp_path).restore(tmp_path / "restored") == 5


def test_a_checkpoint_of_another_training_or_step_is_not_resumed_from(saved: Path, tmp_path: Path) -> None:
    assert checkpoints(tmp_path, OTHER).restore(tmp_path / "restored") is None
    shutil.copytree(saved, saved.parent / "9")
    shutil.rmtree(saved)
    assert checkpoints(tmp_path).restore(tmp_path / "restored") is None


def test_a_checkpoint_that_another_domain_has_signed_is_not_resumed_from(
    saved: Path, tmp_path: Path, strangers_keys: Callable[[], None]
) -> None:
    strangers_keys()
    assert checkpoints(tmp_path).restore(tmp_path / "restored") is None


# -- trials --------------------------------------------------------------------------------------------------------

STEPS = [Step.model_validate({"quantize": {"scheme": "int8-dynamic"}})]
OTHER_STEPS = [Step.model_validate({"quantize": {"scheme": "fp16"}})]


def trials(tmp_path: Path, model: str = DIGEST) -> TrialStore:
    return TrialStore(open_store(f"file:///mnt{tmp_path}/store/test/compressionjobs", None), {"model": model})


@pytest.fixture
def tried(tmp_path: Path) -> Path:
    """The record of one trial in the store."""
    kept = trials(tmp_path)
    kept.put(TrialRecord(name="int8-dynamic", steps=STEPS, predictions=[0, 1, 1], seconds=1.5), None)
    kept.write("answers.npz", b"answers")
    assert kept.find(STEPS) is not None and kept.read("answers.npz") == b"answers"
    (record,) = (tmp_path / "store/test/compressionjobs/trials").rglob("trial.json")
    return record


def test_of_1000_changes_of_a_trial_none_counts(tried: Path, tmp_path: Path) -> None:
    draw = random.Random(20)
    record = json.loads(tried.read_bytes())
    for _ in range(CHANGES):
        after = dict(record)
        if draw.randrange(2):
            after["payload"] = changed(record["payload"].encode(), draw).decode(errors="replace")
        else:
            signature = dict(record["signatures"][0])
            signature["sig"] = changed(signature["sig"].encode(), draw).decode(errors="replace")
            after["signatures"] = [signature]
        tried.write_text(json.dumps(after))
        assert trials(tmp_path).find(STEPS) is None, after


def test_a_trial_of_other_steps_or_of_another_question_does_not_count(tried: Path, tmp_path: Path) -> None:
    kept = trials(tmp_path)
    kept.put(TrialRecord(name="fp16", steps=OTHER_STEPS), None)
    (other,) = (path for path in tried.parent.parent.rglob("trial.json") if path != tried)
    shutil.copyfile(tried, other)
    assert kept.find(OTHER_STEPS) is None
    another = trials(tmp_path, OTHER)
    another.put(TrialRecord(name="int8-dynamic", steps=STEPS), None)
    (elsewhere,) = (path for path in tried.parents[2].rglob("trial.json") if tried.parents[1] not in path.parents)
    shutil.copyfile(tried, elsewhere)
    assert another.find(STEPS) is None


def test_a_teachers_answers_that_somebody_has_changed_are_made_again(tried: Path, tmp_path: Path) -> None:
    (answers,) = tried.parents[1].rglob("answers.npz")
    answers.write_bytes(b"changed")
    assert trials(tmp_path).read("answers.npz") is None


# -- keys ----------------------------------------------------------------------------------------------------------


def test_without_its_keys_a_stage_says_which_secret_is_missing_and_is_tried_again(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(trust.TRUST_VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(StageFailure, match="Secret kaon-signing in each namespace") as caught:
        publish(job, tmp_path)
    assert caught.value.reason == "SigningKeyMissing" and caught.value.retriable


def test_a_signing_key_that_nobody_trusts_is_refused_before_anything_is_signed(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.write_keys(tmp_path / "mixed", TRUST.key("test"))
    (tmp_path / "mixed" / "signing.key").write_bytes(TRUST.key("stranger").pem)
    monkeypatch.setenv(trust.TRUST_VARIABLE, str(tmp_path / "mixed"))
    with pytest.raises(StageFailure, match=r"does not belong to a key of trusted\.pem"):
        publish(job, tmp_path)
    assert not folder_of(job).exists()
