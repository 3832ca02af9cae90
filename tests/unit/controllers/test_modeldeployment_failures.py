"""What a ModelDeployment does when something fails or gets lost."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from kaon.controllers import modeldeployment
from kaon.controllers.base import Key, key_of
from kaon.resources.access import job_access

from .serving_world import CORRUPTED, KEY, LONG, NAME, ROUTER, Failure, ServingWorld, served, stands
from .world import NAMESPACE, digest


@pytest.fixture
def world() -> ServingWorld:
    return ServingWorld()


# -- failing ---------------------------------------------------------------------------------------------------------

FAILURES = {
    "corrupted artifact": (CORRUPTED, "ArtifactCorrupted", "expected sha256 aa, found bb", True),
    "other answers": (
        Failure("GoldenMismatch: recorded answer 1 of 8 is 'earn', the server says 'acq'", "server", exit_code=0),
        "GoldenMismatch",
        "the server says 'acq'",
        True,
    ),
    "image": (Failure("no such image", waiting="ImagePullBackOff"), "ImagePullFailed", "no such image", True),
    "crash": (Failure("Segmentation fault", "server", exit_code=139), "CrashLoop", "Segmentation fault", True),
    "store away": (Failure("StoreUnreachable: no answer", exit_code=1), "StoreUnreachable", "no answer", False),
}


@pytest.mark.parametrize(("failure", "reason", "told", "stalled"), FAILURES.values(), ids=FAILURES)
def test_a_candidate_that_fails_never_touches_the_stable_one(
    world: ServingWorld, failure: Failure, reason: str, told: str, stalled: bool
) -> None:
    first = served(world)
    stable = world.status["stable"]
    world.failing[digest("b")] = failure
    world.compressed("b")
    world.look()
    world.live(LONG)
    assert stands(world) == ("Degraded", reason, str(not stalled), str(stalled))
    assert told in world.condition("Ready")["message"]
    assert f"Revision {first} (triton) keeps serving." in world.condition("Ready")["message"]
    assert world.routed() == first and world.status["stable"] == stable
    assert [item["outcome"] for item in world.status["history"]] == ["Promoted", *([reason] if stalled else [])]


def test_a_failure_is_told_once_and_goes_by_itself_when_its_cause_does(world: ServingWorld) -> None:
    served(world)
    world.failing[digest("b")] = CORRUPTED
    world.compressed("b")
    world.look()
    world.live(LONG)
    assert "Restore the artifact's files in the store" in world.condition("Stalled")["message"]
    world.failing.clear()
    world.live(LONG)
    assert world.status["phase"] == "Ready" and world.status["stable"]["artifactDigest"] == digest("b")
    assert [item["outcome"] for item in world.status["history"]] == ["Promoted", "ArtifactCorrupted", "Promoted"]


def test_the_first_revision_that_fails_is_told_with_its_cause(world: ServingWorld) -> None:
    world.failing[digest("a")] = CORRUPTED
    world.compressed("a")
    world.deploy()
    world.look()
    world.live(60)
    assert stands(world) == ("Degraded", "ArtifactCorrupted", "False", "True")
    assert "Nothing is served yet." in world.condition("Ready")["message"]
    assert ROUTER not in world.objects


def test_pods_that_no_node_can_take_are_waited_for(world: ServingWorld) -> None:
    world.compressed("a")
    world.deploy()
    world.look()
    observed = world.observe(KEY)
    revision = next(iter(world.revisions()))
    labels = world.objects[Key("Deployment", NAMESPACE, f"{NAME}-{revision}")]["metadata"]["labels"]
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: cpu."}
    status = {"phase": "Pending", "conditions": [unschedulable]}
    waiting = {"metadata": {"name": "p", "labels": labels}, "status": status}
    plan = modeldeployment.plan(replace(observed, pods=[waiting]))
    ready = next(item for item in plan.status["conditions"] if item["type"] == "Ready")
    assert ready["reason"] == "Unschedulable" and "0/1 nodes: cpu." in ready["message"]
    assert next(item for item in plan.status["conditions"] if item["type"] == "Reconciling")["status"] == "True"


def test_a_stable_revision_whose_pods_fail_is_degraded_with_the_cause(world: ServingWorld) -> None:
    first = served(world)
    world.failing[digest("a")] = Failure("Killed", "server", exit_code=137)
    world.live(60)
    assert stands(world)[:2] == ("Degraded", "CrashLoop")
    assert "serves with 0 of 1 replicas" in world.condition("Ready")["message"]
    assert world.routed() == first


def test_a_router_that_fails_is_told(world: ServingWorld) -> None:
    served(world)
    world.failing["router"] = Failure("no such image", "envoy", waiting="ImagePullBackOff")
    world.live(60)
    assert stands(world)[:2] == ("Degraded", "ImagePullFailed")
    assert "The router does not run as declared" in world.condition("Ready")["message"]


# -- losing things ---------------------------------------------------------------------------------------------------


def test_a_deployment_that_somebody_deletes_is_made_again_as_it_was(world: ServingWorld) -> None:
    first = served(world, threads=3)
    key = Key("Deployment", NAMESPACE, f"{NAME}-{first}")
    template = world.objects[key]["spec"]["template"]
    world.compressing()
    world.vanish(first)
    world.look()
    assert world.objects[key]["spec"]["template"] == template
    world.live(60)
    assert world.routed() == first


@pytest.mark.parametrize("passed", [0, 60, 110, 300])
def test_a_lost_status_is_made_again_from_the_children(world: ServingWorld, passed: int) -> None:
    served(world)
    world.compressed("b")
    world.look()
    world.live(passed)
    routed = world.routed()
    del world.objects[KEY]["status"]
    world.look()
    assert world.routed() == routed
    world.live(2 * LONG)
    assert world.status["phase"] == "Ready" and world.status["stable"]["artifactDigest"] == digest("b")
    assert world.revisions() == {world.routed()}


def test_servers_that_were_there_before_any_router_was_told_of_them_are_made_anew_when_they_are_wanted_again(
    world: ServingWorld,
) -> None:
    world.compressed("a")
    world.failing[digest("a")] = Failure()
    world.deploy()
    world.look()
    world.live(LONG)
    (first,) = world.revisions()
    key = Key("Deployment", NAMESPACE, f"{NAME}-{first}")
    server, status = copy.deepcopy(world.objects[key]), copy.deepcopy(world.status)
    world.compressed("b")
    world.look()
    world.live(10)
    second = world.routed()
    # The operator died after it had told the router of the second one, and before it took the first one away.
    world.objects[key], world.objects[KEY]["status"] = server, status
    world.failing.clear()
    world.run_pods()
    world.compressed("a")
    world.look()
    assert world.routed() == second and {second} == world.clusters() == world.revisions()
    world.live(LONG)
    assert world.routed() == first and world.revisions() == {first}


def test_traffic_that_went_to_a_revision_and_came_back_leaves_it_running_though_no_status_told_of_it(
    world: ServingWorld,
) -> None:
    first = served(world)
    world.compressed("b")
    world.look()
    before = copy.deepcopy(world.status)
    while world.routed() == first:
        before = copy.deepcopy(world.status)
        world.live(10)
    second = world.routed()
    world.compressed("a")
    world.look()
    assert world.routed() == first
    world.objects[KEY]["status"] = before
    world.look()
    assert {first, second} == world.revisions() == world.clusters()
    assert world.status["retiring"]["revision"] == second and "candidate" not in world.status
    world.live(LONG)
    assert world.routed() == first and world.revisions() == {first}


def test_a_lost_status_without_a_router_takes_what_runs_as_the_candidate(world: ServingWorld) -> None:
    world.compressed("a")
    world.deploy()
    world.look()
    (first,) = world.revisions()
    del world.objects[KEY]["status"]
    world.look()
    assert world.revisions() == {first} == {world.status["candidate"]["revision"]}


def test_children_of_a_deleted_namesake_are_waited_for(world: ServingWorld) -> None:
    world.compressed("a")
    world.deploy()
    world.look()
    observed = replace(world.observe(KEY), occupied=frozenset({Key("NetworkPolicy", NAMESPACE, NAME)}))
    plan = modeldeployment.plan(observed)
    assert "NetworkPolicy" not in {child.manifest["kind"] for child in plan.children}
    assert plan.requeue_after == 2 and "deleted namesake" in plan.status["conditions"][0]["message"]


def test_a_spec_that_cannot_be_read_leaves_everything_as_it_is(world: ServingWorld) -> None:
    first = served(world)
    before = {key: obj for key, obj in world.objects.items() if key != KEY}
    world.apply("ModelDeployment", NAME, {"modelRef": {"kind": "Unheard", "name": "of"}})
    world.look()
    assert {key: obj for key, obj in world.objects.items() if key != KEY} == before
    assert stands(world) == ("Failed", "InvalidSpec", "False", "True")
    assert world.status["stable"]["revision"] == first


def test_a_spec_that_cannot_be_read_claims_nothing_that_its_namespace_shares(world: ServingWorld) -> None:
    served(world)
    world.apply("ModelDeployment", NAME, {"modelRef": {"kind": "Unheard", "name": "of"}})
    observed = world.observe(KEY)
    shared = {key_of(child.manifest): child.manifest for child in job_access(NAMESPACE)}
    plan = modeldeployment.plan(replace(observed, children={**observed.children, **shared}))
    assert {key_of(child.manifest) for child in plan.children} == set(observed.children)
