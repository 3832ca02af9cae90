"""The three stages that run a Job: what follows from their inputs and specs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaon.api import conditions as c
from kaon.api.trainingrun import BaseModelSource, Recipe
from kaon.contract.jobspec import TrainWork
from kaon.controllers import dataset, trainingrun
from kaon.controllers.base import Key, Object
from kaon.controllers.conditions import is_true
from kaon.tasks.registry import TASKS

from .stage_steps import finish_dataset, finish_training, ready, stalled
from .world import (
    COMPRESSION_SPEC,
    DATASET_SPEC,
    NAMESPACE,
    TRAINING_SPEC,
    World,
    compression_result,
    dataset_result,
)


def test_a_new_dataset_gets_one_report_one_job_and_the_shared_identity(world: World) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    kinds = sorted(key.kind for key in world.objects)
    assert kinds == ["Dataset", "Job", "Report", "RoleBinding", "Secret", "ServiceAccount"]
    job = world.jobs("data")[0]
    found = world.told(job)
    status = world.objects[Key("Dataset", NAMESPACE, "data")]["status"]
    assert found.input_digest == status["inputDigest"]
    assert found.output is not None and found.output.uri == f"s3://kaon/artifacts/{NAMESPACE}/datasets"
    assert found.report == job["metadata"]["name"] == status["jobName"]
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["dataset", "--report", found.report]


def test_a_finished_dataset_is_ready_with_its_version_and_artifact(world: World) -> None:
    finish_dataset(world)
    obj = world.objects[Key("Dataset", NAMESPACE, "data")]
    assert is_true(obj, c.READY)
    assert obj["status"]["version"] == "a" * 12
    assert obj["status"]["rows"] == {"train": 80, "validation": 10, "test": 20}
    assert len(obj["status"]["history"]) == 1


def test_a_training_run_without_its_dataset_waits_names_it_and_asks_for_nothing(world: World) -> None:
    world.apply("TrainingRun", "run", TRAINING_SPEC)
    world.settle()
    told = ready(world, "TrainingRun", "run")
    assert (told["status"], told["reason"]) == ("False", c.REFERENCE_NOT_FOUND)
    assert "'data'" in told["message"] and "Create it" in told["message"]
    assert stalled(world, "TrainingRun", "run")["status"] == "False"
    assert world.jobs() == []


def test_a_failed_input_is_told_with_its_cause(world: World) -> None:
    world.apply("Dataset", "data", {**DATASET_SPEC, "quality": {"minRows": 1000}})
    world.apply("TrainingRun", "run", TRAINING_SPEC)
    world.settle()
    world.run(world.jobs("data")[0], dataset_result())
    world.settle()
    told = ready(world, "TrainingRun", "run")
    assert told["reason"] == c.INPUTS_FAILED
    assert "must be at least 1000" in told["message"]


def test_an_edited_cleaning_runs_the_stage_again_under_another_name_and_removes_the_old_children(world: World) -> None:
    finish_dataset(world)
    first = world.jobs("data")[0]["metadata"]["name"]
    world.apply("Dataset", "data", {**DATASET_SPEC, "clean": {"missing": "fail"}})
    world.settle()
    assert [job["metadata"]["name"] for job in world.jobs("data")] != [first]
    assert len(world.jobs("data")) == 1
    assert sum(key.kind == "Report" for key in world.objects) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"backoffLimit": 1},
        {"activeDeadlineSeconds": 60},
        {"ttlSecondsAfterFinished": 60},
        {"podTemplate": {"nodeSelector": {"disk": "fast"}}},
        {"clean": {"missing": "drop", "duplicates": {"method": "exact"}}},
        {"format": "auto", "encoding": "auto", "delimiter": "auto"},
        {"clean": {"unreadableRows": {"action": "fail", "max": 0.01}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_cannot_change_the_result_runs_nothing_again(world: World, change: Object) -> None:
    finish_dataset(world)
    world.apply("Dataset", "data", {**DATASET_SPEC, **change})
    world.settle()
    assert ready(world, "Dataset", "data")["status"] == "True"
    assert len(world.jobs_created) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"encoding": "gb18030"},
        {"delimiter": "tab"},
        {"format": "json"},
        {"clean": {"unreadableRows": {"action": "drop"}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_how_a_dataset_is_read_is_told_to_its_pod_and_changes_its_digest(world: World, change: Object) -> None:
    finish_dataset(world)
    before = world.objects[Key("Dataset", NAMESPACE, "data")]["status"]["inputDigest"]
    world.apply("Dataset", "data", {**DATASET_SPEC, **change})
    world.settle()
    assert world.objects[Key("Dataset", NAMESPACE, "data")]["status"]["inputDigest"] != before
    work = world.told(world.jobs("data")[0]).work.wire()
    if "clean" in change:
        assert work["clean"]["unreadableRows"]["action"] == "drop"
    else:
        assert work == work | change


def test_a_rerun_token_runs_the_same_declaration_again(world: World) -> None:
    finish_dataset(world)
    world.apply("Dataset", "data", {**DATASET_SPEC, "rerun": "once more"})
    world.settle()
    assert len(world.jobs_created) == 2


def test_another_version_of_kaon_and_other_images_run_nothing_again(world: World) -> None:
    finish_dataset(world)
    images = type(world.config.images)("jobs:2", "triton:2", "torchserve:2", "router:2")
    newer = World(*world.controllers.values(), config=replace(world.config, images=images, version="9.9.9"))
    newer.objects = world.objects
    newer.settle()
    assert newer.jobs_created == []


def test_a_compression_reads_the_very_dataset_version_that_the_model_was_trained_on(world: World) -> None:
    finish_training(world)
    world.apply("CompressionJob", "small", COMPRESSION_SPEC)
    world.settle()
    work = world.told(world.jobs("small")[0]).work.wire()
    assert work["dataset"]["digest"] == "sha256:" + "a" * 64
    assert work["model"]["digest"] == "sha256:" + "b" * 64


def test_an_edited_budget_runs_only_the_compression_again(world: World) -> None:
    finish_training(world)
    world.apply("CompressionJob", "small", COMPRESSION_SPEC)
    world.settle()
    world.run(world.jobs("small")[0], compression_result())
    world.settle()
    before = len(world.jobs_created)
    world.apply("CompressionJob", "small", {**COMPRESSION_SPEC, "budget": {"maxDrop": {"accuracy": 0.02}}})
    world.settle()
    created = [name for _, name in world.jobs_created[before:]]
    assert len(created) == 1 and created[0].startswith("small-cjob-")


def test_a_spec_that_this_version_cannot_read_stalls_with_the_field(world: World) -> None:
    world.apply("Dataset", "data", {**DATASET_SPEC, "task": "telepathy"})
    world.settle()
    told = stalled(world, "Dataset", "data")
    assert told["reason"] == c.INVALID_SPEC and "spec.task" in told["message"]


def test_without_any_store_the_resource_says_where_to_set_one() -> None:
    config = replace(World().config, storage_uri=None, storage_secret=None)
    world = World(dataset.CONTROLLER, config=config)
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    assert "spec.storage.uri" in stalled(world, "Dataset", "data")["message"]


def test_a_source_with_a_secret_of_its_own_is_opened_with_it_and_is_the_same_declaration(world: World) -> None:
    """Another Secret may lead to other bytes, so the stage runs; with the same bytes it finds its artifact."""
    finish_dataset(world)
    sources = [{**DATASET_SPEC["sources"][0], "secretRef": {"name": "mine"}}, DATASET_SPEC["sources"][1]]
    before = world.objects[Key("Dataset", NAMESPACE, "data")]["status"]["inputDigest"]
    world.apply("Dataset", "other", {**DATASET_SPEC, "sources": sources})
    world.settle()
    assert world.objects[Key("Dataset", NAMESPACE, "other")]["status"]["inputDigest"] != before
    assert world.told(world.jobs("other")[0]).declaration == world.told(world.jobs("data")[0]).declaration
    pod = world.jobs("other")[0]["spec"]["template"]["spec"]
    assert {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v} == {
        "mine",
        "kaon-store",
        "kaon-signing",
    }


class TestABuiltinModel:
    """A model that Kaon trains from nothing: its job opens no store of base models, and its recipe is its own."""

    def spec(self, base: str = "builtin:linear", **recipe: object) -> Object:
        return {"datasetRef": {"name": "data"}, "model": {"base": base}, "recipe": recipe}

    def test_it_is_trained_as_any_other(self, world: World) -> None:
        finish_dataset(world)
        world.apply("TrainingRun", "run", self.spec(maxSequenceLength=256, seed=1, classWeights="balanced"))
        world.settle()
        work = world.told(world.jobs("run")[0]).work
        assert work.stage == "train" and work.model.builtin == "linear" and work.model_secret is None

    def test_a_recipe_that_would_change_nothing_is_refused_by_name_before_a_pod_starts(self, world: World) -> None:
        finish_dataset(world)
        world.apply("TrainingRun", "run", self.spec(epochs=5, learningRate=0.1, seed=1))
        world.settle()
        told = stalled(world, "TrainingRun", "run")
        assert (told["status"], told["reason"]) == ("True", c.INVALID_SPEC)
        assert told["message"] == (
            "spec.recipe.epochs, spec.recipe.learningRate would change nothing: builtin:linear is a linear support "
            "vector machine over the words of a text, weighted by TF-IDF. Its recipe has classWeights, "
            "maxSequenceLength, seed; remove the others."
        )
        assert world.jobs("run") == []

    def test_one_that_nobody_knows_is_refused(self, world: World) -> None:
        finish_dataset(world)
        world.apply("TrainingRun", "run", self.spec("builtin:liner"))
        world.settle()
        told = stalled(world, "TrainingRun", "run")
        assert told["status"] == "True" and "builtin:linear" in told["message"]
        assert world.jobs("run") == []

    def test_without_a_model_it_is_the_default_and_to_say_so_changes_nothing(self, world: World) -> None:
        finish_dataset(world)
        world.apply("TrainingRun", "run", {"datasetRef": {"name": "data"}})
        world.settle()
        digest = world.objects[Key("TrainingRun", NAMESPACE, "run")]["status"]["inputDigest"]
        work = world.told(world.jobs("run")[0]).work
        assert work.stage == "train" and work.model.base == "builtin:linear" and work.model_secret is None
        world.apply("TrainingRun", "run", self.spec("builtin:linear"))
        world.settle()
        assert world.objects[Key("TrainingRun", NAMESPACE, "run")]["status"]["inputDigest"] == digest

    def test_that_of_another_task_is_refused(self, world: World) -> None:
        finish_dataset(world)
        world.apply("TrainingRun", "run", self.spec("builtin:lightgbm"))
        world.settle()
        told = stalled(world, "TrainingRun", "run")
        assert told["message"] == (
            "spec.model.base is builtin:lightgbm; the builtin models of text-classification are: builtin:linear."
        )


class TestAModelOfImages:
    """Builtin networks begin at random: what their recipe leaves out is settled otherwise than for a base model."""

    def finish_images(self, world: World) -> None:
        images = {"features": [{"name": "image", "type": "image"}], "label": {"name": "label"}}
        world.apply("Dataset", "data", {**DATASET_SPEC, "task": "image-classification", "schema": images})
        world.settle()
        world.run(world.jobs("data")[0], dataset_result())
        world.settle()

    def run(self, world: World, base: str | None = None, **recipe: object) -> tuple[TrainWork, str]:
        """The work that the pod is told, and the digest of the declaration."""
        model = {"model": {"base": base}} if base else {}
        world.apply("TrainingRun", "run", {"datasetRef": {"name": "data"}, "recipe": recipe, **model})
        world.settle()
        digest = world.objects[Key("TrainingRun", NAMESPACE, "run")]["status"]["inputDigest"]
        (work,) = [told.work for job in world.jobs("run") if (told := world.told(job)).input_digest == digest]
        assert isinstance(work, TrainWork)
        return work, digest

    def test_its_defaults_are_those_of_a_network_that_begins_at_random(self, world: World) -> None:
        self.finish_images(world)
        work, digest = self.run(world)
        assert (work.model.base, work.recipe.epochs, work.recipe.learning_rate) == ("builtin:cnn", 20, 0.001)
        # To say so changes nothing.
        assert self.run(world, "builtin:cnn", epochs=20, learningRate=0.001, augmentation="shift")[1] == digest
        work, other = self.run(world, epochs=3)
        assert work.recipe.epochs == 3 and other != digest

    def test_those_of_a_base_model_are_the_usual_ones(self, world: World) -> None:
        self.finish_images(world)
        work, digest = self.run(world, "s3://models/vit", imageSize=64)
        assert (work.recipe.epochs, work.recipe.learning_rate, work.recipe.image_size) == (3, 5e-5, 64)
        assert self.run(world, "s3://models/vit", imageSize=64, epochs=3, learningRate=5e-5)[1] == digest
        assert self.run(world, "s3://models/vit", imageSize=64, epochs=20)[1] != digest

    def test_fields_for_texts_are_refused_and_those_for_images_are_by_texts(self) -> None:
        images, texts = TASKS["image-classification"], TASKS["text-classification"]
        base = BaseModelSource(base="s3://models/m")
        for task, recipe, told in (
            (images, Recipe(max_sequence_length=64), "spec.recipe.maxSequenceLength would change nothing for a model"),
            (texts, Recipe(image_size=64), "spec.recipe.imageSize would change nothing for a model of text-class"),
            (texts, Recipe(augmentation="none"), "spec.recipe.augmentation would change nothing"),
        ):
            state = trainingrun.foreign_model(task, base, recipe)
            assert state is not None and state.stalled and told in state.message
        state = trainingrun.foreign_model(images, BaseModelSource(base="builtin:cnn"), Recipe(dropout=0.1))
        assert state is not None and "spec.recipe.dropout would change nothing: builtin:cnn is a small" in state.message


class TestAModelOfTables:
    """Tables are read by builtin models alone, the best of all by default."""

    TASK = TASKS["tabular-regression"]

    def test_it_is_auto_unless_a_model_is_named(self) -> None:
        found = trainingrun.default_model(self.TASK)
        assert isinstance(found, BaseModelSource) and found.base == "builtin:auto"
        assert trainingrun.foreign_model(self.TASK, found, Recipe(seed=1)) is None

    def test_a_base_model_is_refused_by_name_before_a_pod_starts(self) -> None:
        state = trainingrun.foreign_model(self.TASK, BaseModelSource(base="s3://models/minilm"), Recipe())
        assert state is not None and state.stalled and state.reason == c.INVALID_SPEC
        assert state.message == (
            "spec.model.base is s3://models/minilm; the builtin models of tabular-regression are: builtin:auto, "
            "builtin:lightgbm, builtin:mlp, builtin:linear. It starts from no model of a store."
        )

    @pytest.mark.parametrize("name", ["auto", "lightgbm", "mlp", "linear"])
    def test_a_recipe_for_texts_is_refused(self, name: str) -> None:
        model = BaseModelSource(base=f"builtin:{name}")
        state = trainingrun.foreign_model(self.TASK, model, Recipe(epochs=9, class_weights="balanced"))
        assert (
            state is not None and "spec.recipe.classWeights, spec.recipe.epochs would change nothing" in state.message
        )
        classes = TASKS["tabular-classification"]
        assert trainingrun.foreign_model(classes, model, Recipe(class_weights="balanced", seed=3)) is None

    def test_a_task_without_builtin_models_needs_one_named(self) -> None:
        state = trainingrun.default_model(replace(self.TASK, builtins=()))
        assert not isinstance(state, BaseModelSource) and "spec.model is missing" in state.message
