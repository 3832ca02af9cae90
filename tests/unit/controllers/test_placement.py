"""Accounts, priorities, runtimes and taints: allowed by the installation, or refused at once and by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kaon.api import conditions as c
from kaon.api.podtemplate import PodTemplate
from kaon.controllers import dataset, modeldeployment, trainingrun
from kaon.controllers.base import Key, Object
from kaon.controllers.conditions import condition, is_true
from kaon.controllers.placement import refused_placement
from kaon.resources.podpolicy import Placement, PodPolicy

from .serving_world import KEY, ServingWorld, served
from .stage_steps import finish_dataset
from .world import CONFIG, DATASET_SPEC, NAMESPACE, TRAINING_SPEC, World

DATA = Key("Dataset", NAMESPACE, "data")
EVERYTHING = Placement(("*",), ("*",), ("*",), ("*",))
NOTHING = Placement((), (), (), ())
EXISTS = {"operator": "Exists"}
# (template, the field and the value that the message names, the Helm value that would allow it)
REFUSED: tuple[tuple[Object, str, str], ...] = (
    ({"serviceAccountName": "powerful"}, "spec.podTemplate.serviceAccountName is powerful", "serviceAccounts"),
    ({"serviceAccountName": "default"}, "spec.podTemplate.serviceAccountName is default", "serviceAccounts"),
    ({"priorityClassName": "high"}, "spec.podTemplate.priorityClassName is high", "priorityClasses"),
    (
        {"priorityClassName": "system-node-critical"},
        "spec.podTemplate.priorityClassName is system-node-critical",
        "priorityClasses",
    ),
    ({"runtimeClassName": "runc"}, "spec.podTemplate.runtimeClassName is runc", "runtimeClasses"),
    ({"tolerations": [EXISTS]}, "spec.podTemplate.tolerations[0] is every taint", "tolerations"),
    (
        {
            "tolerations": [
                {"key": "nvidia.com/gpu", **EXISTS},
                {"key": "node-role.kubernetes.io/control-plane", **EXISTS},
            ]
        },
        "spec.podTemplate.tolerations[1] is node-role.kubernetes.io/control-plane",
        "tolerations",
    ),
)
ORDINARY: tuple[Object, ...] = (
    {},
    {"serviceAccountName": "kaon-job"},
    {"runtimeClassName": "nvidia"},
    {"tolerations": [{"key": "nvidia.com/gpu", **EXISTS}, {"key": "amd.com/gpu", "value": "present"}]},
    {"nodeSelector": {"gpu": "a100"}},
)


def refusal(template: Object, allowed: Placement, **more: Any) -> str | None:
    found = refused_placement({"spec.podTemplate": PodTemplate.model_validate(template)}, NAMESPACE, allowed, **more)
    return None if found is None else found.message


@pytest.mark.parametrize(("template", "told", "value"), REFUSED)
def test_a_refusal_names_the_field_its_value_and_who_may_allow_it(template: Object, told: str, value: str) -> None:
    message = refusal(template, Placement())
    assert message is not None and told in message
    assert f"podTemplate.allowed.{value} in Kaon's Helm values" in message


def test_a_refusal_says_what_is_allowed_instead() -> None:
    message = refusal({"tolerations": [{"key": "spot", **EXISTS}]}, Placement())
    assert message is not None and "Allowed here: nvidia.com/gpu, amd.com/gpu." in message
    message = refusal({"priorityClassName": "high"}, Placement())
    assert message is not None and "None is allowed here." in message


@pytest.mark.parametrize("template", ORDINARY)
def test_what_gpus_need_is_allowed_by_default(template: Object) -> None:
    assert refusal(template, Placement()) is None


@pytest.mark.parametrize("template", [template for template, _, _ in REFUSED])
def test_an_administrator_may_allow_everything(template: Object) -> None:
    assert refusal(template, EVERYTHING) is None


def test_an_account_may_be_allowed_in_one_namespace_alone() -> None:
    template = {"serviceAccountName": "trainer"}
    assert refusal(template, Placement(service_accounts=(f"{NAMESPACE}/trainer",))) is None
    assert refusal(template, Placement(service_accounts=("other/trainer",))) is not None


def test_an_account_is_of_no_matter_to_pods_that_have_none() -> None:
    assert refusal({"serviceAccountName": "powerful"}, NOTHING, accounts=False) is None


@pytest.mark.parametrize("template", [template for template, _, _ in REFUSED])
def test_no_pod_starts_and_the_resource_is_stalled_at_once(template: Object) -> None:
    world = World(dataset.CONTROLLER)
    world.apply("Dataset", "data", {**DATASET_SPEC, "podTemplate": template})
    world.settle()
    assert world.jobs() == []
    stalled = condition(world.objects[DATA], c.STALLED)
    assert stalled is not None and (stalled["status"], stalled["reason"]) == ("True", c.PLACEMENT_NOT_ALLOWED)


def test_it_is_told_while_the_inputs_are_not_there_yet() -> None:
    world = World(dataset.CONTROLLER, trainingrun.CONTROLLER)
    world.apply("TrainingRun", "run", {**TRAINING_SPEC, "podTemplate": {"priorityClassName": "high"}})
    world.settle()
    stalled = condition(world.objects[Key("TrainingRun", NAMESPACE, "run")], c.STALLED)
    assert stalled is not None and stalled["reason"] == c.PLACEMENT_NOT_ALLOWED


def test_what_is_finished_stays_ready_and_what_runs_goes_on(world: World) -> None:
    template = {"podTemplate": {"priorityClassName": "high"}}
    world.config = replace(CONFIG, pods=PodPolicy(placement=EVERYTHING))
    finish_dataset(world)
    world.apply("Dataset", "data", {**DATASET_SPEC, **template})
    world.apply("Dataset", "other", {**DATASET_SPEC, "rerun": "other", **template})
    world.settle()
    (running,) = world.jobs("other")
    world.config = CONFIG
    world.settle()
    assert is_true(world.objects[DATA], c.READY)
    assert [job["metadata"]["uid"] for job in world.jobs("other")] == [running["metadata"]["uid"]]
    told = condition(world.objects[Key("Dataset", NAMESPACE, "other")], c.STALLED)
    assert told is not None and told["status"] == "False"


@pytest.mark.parametrize("field", ["podTemplate", "router"])
def test_a_model_serves_on_as_it_is_and_takes_no_refused_placement(field: str) -> None:
    world = ServingWorld()
    served(world)
    before = {key: obj for key, obj in world.objects.items() if key.kind == "Deployment"}
    assert before
    spec = world.objects[KEY]["spec"]
    world.apply(KEY.kind, KEY.name, {**spec, field: {"tolerations": [EXISTS]}})
    plan = modeldeployment.plan(world.observe(KEY))
    assert {child.mode for child in plan.children} == {"keep"}
    assert before.keys() <= {
        Key(child.manifest["kind"], NAMESPACE, child.manifest["metadata"]["name"]) for child in plan.children
    }
    stalled = next(item for item in plan.status["conditions"] if item["type"] == c.STALLED)
    assert stalled["status"] == "True" and f"spec.{field}.tolerations[0]" in stalled["message"]
    assert plan.status["stable"] == world.objects[KEY]["status"]["stable"]
