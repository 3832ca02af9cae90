"""The largest resources that the CRDs let through: what follows from them fits into etcd, and is told whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from largest import CHARACTERS, ETCD_BYTES, class_names, compression, dataset, stored_bytes, table, training
from rule_samples import Object

from kaon.api.compressionjob import CompressionJobSpec
from kaon.api.dataset import CLASS_NAMES_LENGTH, DatasetSpec, DatasetStatus, listed
from kaon.api.report import JOB_LENGTH, DatasetResult, ReportSpec
from kaon.api.signature import MOST_INPUTS, TEXT_SIGNATURE, Signature, TensorSpec
from kaon.api.trainingrun import TrainingRunSpec
from kaon.contract.jobspec import CompressWork, DatasetWork
from kaon.controllers.base import Key
from kaon.engine.slim import slim

from .serving_world import LONG, ServingWorld, served
from .stage_steps import finish_dataset, finish_training, ready
from .world import NAMESPACE, World, compression_result, dataset_result, training_result

COLUMN_NAMES_LENGTH = 32_768
"""Characters of the names of all columns of a table."""
ANNOTATIONS_BYTES = 2**18
CONFIG_MAP_BYTES = 2**20
"""What Kubernetes takes for all annotations of an object, and for the data of a ConfigMap."""

each_character = pytest.mark.parametrize("character", CHARACTERS.values(), ids=CHARACTERS)


def report_of(world: World, kind: str, name: str) -> Object:
    job_name = world.objects[Key(kind, NAMESPACE, name)]["status"]["jobName"]
    found: Object = world.objects[Key("Report", NAMESPACE, job_name)]
    return found


def with_all_classes(character: str, features: list[Object]) -> Object:
    """The result of a dataset stage that has found classes with the longest names, as its pod reports it."""
    result = dataset_result()
    names = {"classes": [character * 256] * 1000, "features": features}
    found = DatasetResult.model_validate({**result["dataset"], **names})
    return {**result, "dataset": found.reported().wire()}


@each_character
@pytest.mark.parametrize("largest", [dataset, table])
def test_a_dataset_is_told_whole_and_with_its_status_it_can_be_stored(
    world: World, character: str, largest: Callable[[str], Object]
) -> None:
    spec = largest(character)
    DatasetSpec.model_validate(spec)
    world.apply("Dataset", "d" * 40, spec)
    world.settle()
    (job,) = world.jobs()
    work = world.told(job).work
    assert isinstance(work, DatasetWork) and work.columns.label.classes == spec["schema"]["label"]["classes"]
    world.run(job, with_all_classes(character, spec["schema"]["features"]))
    world.settle()
    report, obj = report_of(world, "Dataset", "d" * 40), world.objects[Key("Dataset", NAMESPACE, "d" * 40)]
    ReportSpec.model_validate(report["spec"])
    status = DatasetStatus.model_validate(obj["status"])
    assert status.class_count == 1000 and len(status.classes) == CLASS_NAMES_LENGTH // 256
    assert stored_bytes(report) < ETCD_BYTES and stored_bytes(obj) < ETCD_BYTES


@each_character
def test_other_stages_are_told_whole(world: World, character: str) -> None:
    TrainingRunSpec.model_validate(training(character))
    CompressionJobSpec.model_validate(compression(character))
    finish_dataset(world)
    world.apply("TrainingRun", "run", training(character))
    world.settle()
    ReportSpec.model_validate(report_of(world, "TrainingRun", "run")["spec"])
    world.run(world.jobs("run")[0], training_result())
    world.settle()
    world.apply("CompressionJob", "small", compression(character))
    world.settle()
    work = world.told(world.jobs("small")[0]).work
    assert isinstance(work, CompressWork) and work.steps is not None
    assert work.steps[-1].wire() == compression(character)["steps"][-1]
    world.run(world.jobs("small")[0], compression_result())
    world.settle()
    report = report_of(world, "CompressionJob", "small")
    ReportSpec.model_validate(report["spec"])
    assert stored_bytes(report) < ETCD_BYTES / 2


@each_character
def test_the_signature_of_the_widest_table_fits_wherever_it_is_told(character: str) -> None:
    """In the status of three revisions, in the annotation of a Deployment, and in the router's ConfigMap."""
    columns = [character * (COLUMN_NAMES_LENGTH // MOST_INPUTS)] * MOST_INPUTS
    signature = Signature(
        inputs=[
            TensorSpec(name=name, datatype="BYTES", shape=[-1, 1], optional=True, content="datetime")
            for name in columns
        ],
        outputs=TEXT_SIGNATURE.outputs,
    )
    world = ServingWorld()
    served(world, "a", replicas=1)
    world.compressed("a", signature=signature.wire())
    world.live(10)
    world.compressed("b", signature=signature.wire())
    world.live(LONG / 4)
    status = world.status
    assert "signature" in status["stable"] and ("candidate" in status or "retiring" in status)
    assert (
        stored_bytes({"status": {**status, **dict.fromkeys(("candidate", "retiring"), status["stable"])}}) < ETCD_BYTES
    )
    for found in world.objects.values():
        annotations = found["metadata"].get("annotations", {})
        assert sum(len(text.encode()) for text in annotations.values()) < ANNOTATIONS_BYTES
        assert sum(len(text.encode()) for text in found.get("data", {}).values()) < CONFIG_MAP_BYTES


def test_a_result_that_an_older_pod_has_told_whole_is_cut_in_the_status(world: World) -> None:
    world.apply("Dataset", "data", {**dataset("a"), "sources": [{"uri": "s3://a"}]})
    world.settle()
    result = dataset_result()
    world.run(world.jobs()[0], {**result, "dataset": {**result["dataset"], "classes": ["x" * 256] * 1000}})
    world.settle()
    status = world.objects[Key("Dataset", NAMESPACE, "data")]["status"]
    assert status["classCount"] == 1000 and status["classes"] == ["x" * 256] * 256
    assert "of 1000 classes" in ready(world, "Dataset", "data")["message"]


def test_class_names_are_listed_while_they_fit() -> None:
    names = class_names("a")
    assert listed(names) == names
    assert listed(["a" * CLASS_NAMES_LENGTH, "b", ""]) == ["a" * CLASS_NAMES_LENGTH]


def test_what_a_pod_is_told_takes_no_room_in_the_operators_memory(world: World) -> None:
    world.apply("Dataset", "data", dataset("\x01"))
    world.settle()
    report = report_of(world, "Dataset", "data")
    kept = slim(report)
    assert len(report["spec"]["job"]) > JOB_LENGTH / 2 and stored_bytes(kept) < 2048
    assert "job" not in kept["spec"] and slim(kept) == kept
    # The plan is the same with what is kept.
    key = Key("Report", NAMESPACE, report["metadata"]["name"])
    job = world.objects.pop(Key("Job", NAMESPACE, key.name))
    before = world.reconcile(Key("Dataset", NAMESPACE, "data"))
    del world.objects[Key("Job", NAMESPACE, key.name)]
    world.objects[key] = kept
    after = world.reconcile(Key("Dataset", NAMESPACE, "data"))
    assert [child.manifest["kind"] for child in after.children] == [child.manifest["kind"] for child in before.children]
    assert world.objects[Key("Job", NAMESPACE, key.name)]["spec"] == job["spec"]
    assert sum(child.mode == "create" and child.owned for child in after.children) == 1, "the Job, and no Report"


def test_the_report_of_a_finished_stage_is_not_made_or_sent_again(world: World) -> None:
    finish_training(world)
    plan = world.reconcile(Key("TrainingRun", NAMESPACE, "run"))
    assert [child.mode for child in plan.children if child.manifest["kind"] == "Report"] == ["keep"]
