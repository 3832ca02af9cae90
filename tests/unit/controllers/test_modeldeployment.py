"""What a ModelDeployment does, transition by transition."""

from __future__ import annotations

import pytest
from metricvalues import wire

from kaon.api.signature import Signature, TensorSpec
from kaon.controllers import modeldeployment
from kaon.controllers.base import Key, Object

from .serving_world import CORRUPTED, KEY, LONG, NAME, ROUTER, ServingWorld, served, stands
from .world import NAMESPACE, digest

TABLE = Signature(
    inputs=[
        TensorSpec(name="age", datatype="FP64", shape=[-1, 1], optional=True),
        TensorSpec(name="job", datatype="BYTES", shape=[-1, 1], optional=True),
    ],
    outputs=[TensorSpec(name="prediction", datatype="FP64", shape=[-1, 1])],
)


@pytest.fixture
def world() -> ServingWorld:
    return ServingWorld()


# -- from nothing to served ------------------------------------------------------------------------------------------


def test_it_refers_to_the_resource_that_makes_the_model(world: ServingWorld) -> None:
    world.deploy()
    assert modeldeployment.references(world.objects[KEY]) == {Key("CompressionJob", NAMESPACE, "small")}
    assert modeldeployment.references({"metadata": {"namespace": "x"}, "spec": {}}) == frozenset()


def test_it_waits_for_a_model_that_does_not_exist_and_starts_nothing(world: ServingWorld) -> None:
    world.deploy()
    assert world.look().children == ()
    assert stands(world) == ("Waiting", "ReferenceNotFound", "True", "False")
    assert "'small', which does not exist" in world.condition("InputsReady")["message"]


def test_it_waits_for_a_model_that_is_not_ready(world: ServingWorld) -> None:
    world.compressing()
    world.deploy()
    assert world.look().children == ()
    assert stands(world) == ("Waiting", "InputsNotReady", "True", "False")
    assert world.condition("Ready")["message"].endswith("Nothing is served yet.")


def test_it_waits_for_a_compressed_model_that_is_ready_and_not_accepted(world: ServingWorld) -> None:
    world.compressed("a")
    made = world.objects[Key("CompressionJob", NAMESPACE, "small")]
    made["status"]["conditions"] = [item for item in made["status"]["conditions"] if item["type"] != "Accepted"]
    world.deploy()
    assert world.look().children == ()
    assert "to be Accepted" in world.condition("Ready")["message"]


def test_the_first_revision_is_routed_to_when_it_is_ready_and_not_before(world: ServingWorld) -> None:
    world.compressed("a")
    world.deploy()
    world.look()
    assert stands(world) == ("Progressing", "RollingOut", "True", "False")
    assert world.routed() is None and ROUTER not in world.objects
    assert "0 of 1 replicas answer as recorded" in world.condition("Ready")["message"]
    world.run_pods()
    plan = world.look()
    assert world.routed() == world.status["stable"]["revision"]
    assert [event.reason for event in plan.events] == ["Promoted"]
    world.live(20)
    assert stands(world) == ("Ready", "Serving", "False", "False")
    assert world.status["url"] == f"http://{NAME}.{NAMESPACE}.svc.cluster.local/v2/models/{NAME}/infer"
    assert (world.status["replicas"], world.status["readyReplicas"]) == (1, 1)
    assert world.condition("Accepted")["status"] == "True"
    assert [item["outcome"] for item in world.status["history"]] == ["Promoted"]


def test_a_deployment_at_rest_plans_the_same_again(world: ServingWorld) -> None:
    served(world)
    before = dict(world.objects[KEY]["status"])
    plan = world.look()
    assert plan.status == before
    assert plan.events == () and plan.requeue_after is None


def test_the_selector_of_the_scale_subresource_matches_the_stable_pods_alone(world: ServingWorld) -> None:
    revision = served(world)
    wanted = dict(item.split("=") for item in world.status["selector"].split(","))
    matching = [pod for pod in world.pods() if wanted.items() <= pod["metadata"]["labels"].items()]
    assert [pod["metadata"]["name"] for pod in matching] == [f"{NAME}-{revision}-x"]


# -- evidence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gates", "evaluation", "told"),
    [
        ({"maximum": {"ece": 0.1}}, {"metrics": wire(ece=0.2)}, "calibration error is 0.2, must be at most 0.1"),
        ({"minimum": {"accuracy": 0.99}}, {}, "accuracy is 0.95, must be at least 0.99"),
        ({"minimum": {"macroF1": 0.91}}, {}, "macro-F1 is 0.9, must be at least 0.91"),
        (
            {"minimum": {"macroF1": 0.5}},
            {"metrics": wire(accuracy=0.95)},
            "macro-F1 is no figure, must be at least 0.5",
        ),
        ({"maxLatencyMs": 19}, {}, "latencyMs.p99 is 20, must be at most 19"),
        ({"maxLatencyMs": 19}, {"latencyMs": None}, "latencyMs.p99 is no figure, must be at most 19"),
        ({"maxSizeBytes": 999}, {}, "sizeBytes is 1000, must be at most 999"),
    ],
)
def test_a_gate_refuses_by_figure_and_bound(world: ServingWorld, gates: Object, evaluation: Object, told: str) -> None:
    world.compressed("a", **evaluation)
    world.deploy(gates=gates)
    assert world.look().children == ()
    assert stands(world) == ("Degraded", "GateFailed", "False", "True")
    assert told in world.condition("Accepted")["message"]
    assert world.status["gates"] == [{"name": told.split(" is ")[0], "passed": False, "message": told}]
    assert [item["outcome"] for item in world.status["history"]] == ["GateFailed"]


def per_class(*names: str) -> list[Object]:
    return [{"label": name, "precision": 0.9, "recall": 0.9, "f1": 0.9, "support": 10} for name in names]


def watching(*names: str) -> Object:
    return {"alerts": {"classShare": [{"class": name, "above": 0.4} for name in names]}}


@pytest.mark.parametrize(
    ("classes", "named", "told"),
    [
        (
            ("fresh", "rotten"),
            ("roten", "rotten"),
            "spec.monitoring.alerts.classShare names 'roten', which is no class of CompressionJob small. Its classes "
            "are 'fresh', 'rotten'. Correct the names, or remove these entries.",
        ),
        ((), ("rotten",), "the evaluation of CompressionJob small lists no classes: it predicts no class"),
        (
            tuple(f"c{number:03}" for number in range(200)),
            ("c200", "c000", "d"),
            "names 'c200', 'd', and servers do not count these classes apart from others: of CompressionJob small they "
            "count the 200 classes that its evaluation lists ('c000', ",
        ),
    ],
)
def test_an_alert_on_a_class_that_the_model_lacks_is_told_with_the_list(
    world: ServingWorld, classes: tuple[str, ...], named: tuple[str, ...], told: str
) -> None:
    world.compressed("a", perClass=per_class(*classes))
    world.deploy(monitoring=watching(*named))
    assert world.look().children == ()
    assert stands(world)[1:] == ("ClassUnknown", "False", "True")
    assert told in world.condition("Stalled")["message"]
    assert len(world.condition("Stalled")["message"]) < 1000


def test_what_serves_goes_on_while_an_alert_names_a_class_that_is_not_there(world: ServingWorld) -> None:
    revision = served(world)
    world.capabilities = frozenset({"PrometheusRule"})
    world.compressed("b", perClass=per_class("fresh"))
    world.deploy(monitoring=watching("rotten"))
    world.look()
    world.live(LONG)
    assert world.status["stable"]["revision"] == revision and "candidate" not in world.status
    assert stands(world)[1] == "ClassUnknown"
    assert "keeps serving" in world.condition("Stalled")["message"]
    world.deploy(monitoring=watching("fresh"))
    world.look()
    world.live(LONG)
    assert stands(world)[1] == "Serving" and world.status["stable"]["revision"] != revision
    rule = world.objects[Key("PrometheusRule", NAMESPACE, NAME)]
    assert "KaonModelClassShareHigh" in [item["alert"] for item in rule["spec"]["groups"][0]["rules"]]


def test_a_limit_of_a_share_is_changed_without_a_new_revision(world: ServingWorld) -> None:
    world.compressed("a", perClass=per_class("fresh"))
    world.deploy()
    world.look()
    world.live(LONG)
    revision = world.status["stable"]["revision"]
    world.deploy(monitoring=watching("fresh"))
    world.look()
    assert world.status["stable"]["revision"] == revision and "candidate" not in world.status


def test_the_classes_of_a_pinned_model_are_those_of_its_own_evaluation(world: ServingWorld) -> None:
    world.compressed("a", perClass=per_class("fresh"))
    world.deploy(follow="Pinned")
    world.look()
    world.live(LONG)
    world.deploy(follow="Pinned", monitoring=watching("stale"))
    world.look()
    assert stands(world)[1] == "ClassUnknown"
    # Its maker has made another model since: nobody knows the classes of the pinned one any more.
    world.compressed("b", perClass=per_class("other"))
    world.look()
    assert stands(world)[1] == "Serving"


def test_gates_fail_when_there_is_no_evaluation_at_all(world: ServingWorld) -> None:
    world.compressed("a")
    del world.objects[Key("CompressionJob", NAMESPACE, "small")]["status"]["evaluation"]
    world.deploy(gates={"minimum": {"accuracy": 0.1}})
    world.look()
    assert stands(world)[1] == "GateFailed"


def test_a_newer_model_that_fails_the_gates_leaves_the_served_one_alone(world: ServingWorld) -> None:
    first = served(world, gates={"minimum": {"accuracy": 0.9}})
    before = world.objects[ROUTER]
    world.compressed("b", metrics=wire(accuracy=0.5))
    world.look()
    world.live(LONG)
    assert stands(world) == ("Degraded", "GateFailed", "False", "True")
    assert world.routed() == first and world.revisions() == {first} and world.objects[ROUTER] == before
    assert world.status["stable"]["artifactDigest"] == digest("a")
    assert f"Revision {first} (triton) keeps serving." in world.condition("Ready")["message"]
    assert [item["outcome"] for item in world.status["history"]] == ["Promoted", "GateFailed"]


def test_gates_that_are_tightened_while_a_candidate_starts_stop_it(world: ServingWorld) -> None:
    first = served(world)
    world.compressed("b", metrics=wire(accuracy=0.5))
    world.look()
    assert len(world.revisions()) == 2
    world.deploy(gates={"minimum": {"accuracy": 0.9}})
    world.look()
    assert world.revisions() == {first} and "candidate" not in world.status


# -- replacing -------------------------------------------------------------------------------------------------------


def test_a_newer_artifact_replaces_the_old_one_which_runs_on_for_a_while(world: ServingWorld) -> None:
    first = served(world)
    world.compressed("b")
    world.look()
    second = world.status["candidate"]["revision"]
    assert world.revisions() == {first, second} and world.routed() == first
    assert world.clusters() == {first, second}, "routers learn of the candidate before any route needs it"
    world.live(100)
    assert world.routed() == second and world.status["retiring"]["revision"] == first
    assert world.revisions() == {first, second}
    world.live(100)
    assert world.revisions() == {second} and world.clusters() == {second} and "retiring" not in world.status
    assert [item["artifactDigest"] for item in world.status["history"]] == [digest("a"), digest("b")]


def test_a_candidate_waits_until_every_router_surely_knows_it(world: ServingWorld) -> None:
    first = served(world)
    world.compressed("b")
    world.look()
    world.live(60)
    plan = world.look()
    assert world.routed() == first
    assert "waits until every router knows it" in world.condition("Ready")["message"]
    assert plan.requeue_after == pytest.approx(30)


@pytest.mark.parametrize(
    "change",
    [{"server": "torchserve"}, {"threads": 4}, {"batching": {"maxBatchSize": 2}}, {"rerun": "again"}],
    ids=lambda change: next(iter(change)),
)
def test_what_the_server_is_told_makes_a_revision_of_its_own(world: ServingWorld, change: Object) -> None:
    first = served(world)
    world.deploy(**change)
    world.look()
    assert world.revisions() == {first, world.status["candidate"]["revision"]} and world.routed() == first
    world.live(LONG)
    assert world.revisions() == {world.routed()} and world.routed() != first


def test_the_old_revision_keeps_its_own_settings_while_a_new_one_comes(world: ServingWorld) -> None:
    first = served(world, threads=2)
    before = world.objects[Key("Deployment", NAMESPACE, f"{NAME}-{first}")]["spec"]["template"]
    world.deploy(threads=8, server="torchserve")
    world.look()
    assert world.objects[Key("Deployment", NAMESPACE, f"{NAME}-{first}")]["spec"]["template"] == before


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 3},
        {"podTemplate": {"resources": {"limits": {"memory": "2Gi"}}}},
        {"route": {"timeoutSeconds": 3}},
        {"monitoring": {"alerts": {"maxErrorRatio": 0.5}}},
        {"gates": {"minimum": {"accuracy": 0.5}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_not_the_model_changes_in_place(world: ServingWorld, change: Object) -> None:
    first = served(world)
    world.deploy(**change)
    world.look()
    world.live(LONG)
    assert world.revisions() == {first} and world.routed() == first
    assert stands(world) == ("Ready", "Serving", "False", "False")


def test_scaling_is_told_until_it_is_done(world: ServingWorld) -> None:
    served(world)
    world.deploy(replicas=3)
    world.look()
    assert stands(world)[:2] == ("Progressing", "ReplicasNotReady")
    world.live(30)
    assert (world.status["replicas"], world.status["readyReplicas"]) == (3, 3)
    assert world.status["phase"] == "Ready"


def test_a_spec_set_back_while_the_old_revision_retires_returns_to_it_at_once(world: ServingWorld) -> None:
    first = served(world)
    world.compressed("b")
    world.look()
    world.live(100)
    second = world.routed()
    assert world.status["retiring"]["revision"] == first
    world.compressed("a")
    world.look()
    assert world.routed() == first and world.status["retiring"]["revision"] == second
    world.live(LONG)
    assert world.revisions() == {first}
    assert [item["outcome"] for item in world.status["history"]] == ["Promoted"] * 3


def test_a_spec_set_back_before_the_candidate_is_promoted_drops_the_candidate(world: ServingWorld) -> None:
    first = served(world)
    world.compressed("b")
    world.look()
    world.live(30)
    world.compressed("a")
    world.look()
    assert world.revisions() == {first} and "candidate" not in world.status
    assert world.status["phase"] == "Ready"


def test_two_newer_artifacts_in_a_row_end_with_the_last(world: ServingWorld) -> None:
    served(world)
    for character in "bcd":
        world.compressed(character)
        world.look()
        world.live(40)
    world.live(LONG)
    assert world.status["stable"]["artifactDigest"] == digest("d")
    assert world.revisions() == {world.routed()}


def test_pinned_stays_with_the_first_artifact_whatever_its_maker_does(world: ServingWorld) -> None:
    first = served(world, follow="Pinned")
    world.compressed("b")
    world.live(LONG)
    assert world.routed() == first and world.status["phase"] == "Ready"
    world.delete("CompressionJob", "small")
    world.live(LONG)
    assert world.routed() == first and world.status["phase"] == "Ready"


def test_pinned_follows_a_model_ref_that_is_edited(world: ServingWorld) -> None:
    first = served(world, follow="Pinned")
    world.compressed("b", name="other")
    world.deploy(follow="Pinned", modelRef={"kind": "CompressionJob", "name": "other"})
    world.look()
    world.live(LONG)
    assert world.routed() != first and world.status["stable"]["artifactDigest"] == digest("b")


def test_a_model_that_is_being_made_again_leaves_the_served_one_alone(world: ServingWorld) -> None:
    first = served(world)
    world.compressing()
    world.look()
    world.live(LONG)
    assert stands(world) == ("Waiting", "InputsNotReady", "True", "False")
    assert world.routed() == first and world.revisions() == {first}
    assert "keeps serving" in world.condition("Ready")["message"]


# -- suspended -------------------------------------------------------------------------------------------------------


def test_a_status_that_tells_no_signature_is_of_a_model_of_texts(world: ServingWorld) -> None:
    served(world)
    assert world.asked() == ["text"] and "signature" not in world.status["stable"]


def test_a_model_of_another_signature_brings_its_check_when_it_gets_the_traffic(world: ServingWorld) -> None:
    first = served(world, "a")
    world.compressed("b", signature=TABLE.wire())
    world.look()
    seen = [(world.routed() == first, world.asked())]
    for _ in range(round(LONG / 10)):
        world.live(10)
        seen.append((world.routed() == first, world.asked()))
    assert {(True, "text"), (False, "age")} == {(still, names[0]) for still, names in seen}
    assert world.asked() == ["age", "job"] and world.status["stable"]["signature"] == TABLE.wire()


def test_a_pinned_model_keeps_its_check_and_a_lost_status_gets_it_back(world: ServingWorld) -> None:
    world.compressed("a", signature=TABLE.wire())
    world.deploy(follow="Pinned")
    world.look()
    world.live(LONG)
    world.compressed("b")
    world.live(LONG)
    assert world.asked() == ["age", "job"]
    del world.objects[KEY]["status"]
    world.look()
    assert world.asked() == ["age", "job"] and world.status["stable"]["signature"] == TABLE.wire()


def test_a_signature_that_cannot_be_read_is_none(world: ServingWorld) -> None:
    world.compressed("a", signature={"inputs": 7})
    world.deploy()
    world.look()
    world.live(LONG)
    assert world.asked() == ["text"]


def test_suspended_from_the_start_nothing_starts(world: ServingWorld) -> None:
    world.compressed("a")
    world.deploy(suspend=True)
    assert world.look().children == ()
    assert stands(world) == ("Suspended", "Suspended", "False", "False")


def test_suspended_what_serves_keeps_serving_and_nothing_new_starts(world: ServingWorld) -> None:
    first = served(world)
    world.deploy(suspend=True)
    world.compressed("b")
    world.look()
    world.live(LONG)
    assert world.revisions() == {first} and world.routed() == first
    assert "keeps serving" in world.condition("Ready")["message"]
    world.deploy(suspend=False)
    world.look()
    world.live(LONG)
    assert world.status["stable"]["artifactDigest"] == digest("b")


def test_suspended_in_the_middle_a_candidate_is_not_promoted(world: ServingWorld) -> None:
    first = served(world)
    world.compressed("b")
    world.look()
    world.deploy(suspend=True)
    world.live(LONG)
    assert world.routed() == first and world.status["candidate"]["artifactDigest"] == digest("b")


# -- scale and company -----------------------------------------------------------------------------------------------


def kinds(world: ServingWorld) -> list[str]:
    return sorted(
        f"{key.kind} {key.name}" for key in world.objects if key.kind in ("PodDisruptionBudget", "PodMonitor")
    )


def test_more_than_one_replica_brings_two_routers_and_disruption_budgets(world: ServingWorld) -> None:
    served(world)
    assert kinds(world) == []
    world.deploy(replicas=2)
    world.look()
    assert kinds(world) == [f"PodDisruptionBudget {NAME}", f"PodDisruptionBudget {NAME}-router"]
    assert world.objects[Key("Deployment", NAMESPACE, f"{NAME}-router")]["spec"]["replicas"] == 2


def test_scaled_to_nothing_it_says_so(world: ServingWorld) -> None:
    served(world)
    world.deploy(replicas=0)
    world.look()
    world.live(60)
    assert stands(world) == ("Ready", "ScaledToZero", "False", "False")
    assert world.status["replicas"] == 0


def test_a_candidate_is_proven_on_one_pod_even_at_scale_zero(world: ServingWorld) -> None:
    served(world)
    world.deploy(replicas=0)
    world.look()
    world.live(60)
    world.failing[digest("b")] = CORRUPTED
    world.compressed("b")
    world.look()
    world.live(LONG)
    assert stands(world)[1] == "ArtifactCorrupted"
    world.failing.clear()
    world.live(LONG)
    assert world.status["stable"]["artifactDigest"] == digest("b") and world.status["replicas"] == 0


def test_monitors_are_made_only_where_the_cluster_knows_them(world: ServingWorld) -> None:
    served(world)
    assert not {"PodMonitor", "PrometheusRule"} & {key.kind for key in world.objects}
    world.capabilities = frozenset({"PodMonitor", "PrometheusRule"})
    world.look()
    assert {"PodMonitor", "PrometheusRule"} <= {key.kind for key in world.objects}


def test_the_history_is_bounded(world: ServingWorld) -> None:
    served(world)
    for index in range(12):
        world.compressed("ab"[index % 2])
        world.look()
        world.live(LONG)
    assert len(world.status["history"]) == 10
