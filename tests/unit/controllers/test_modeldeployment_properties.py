"""Whatever happens, in whatever order: the rules of ServingWorld hold, and in quiet all becomes as declared."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kaon.controllers.base import Key

from .serving_world import KEY, NAME, Failure, ServingWorld
from .world import NAMESPACE, digest

ARTIFACTS = "abc"

events = st.one_of(
    st.tuples(st.just("artifact"), st.sampled_from(ARTIFACTS)),
    st.tuples(st.just("server"), st.sampled_from(["triton", "torchserve"])),
    st.tuples(st.just("replicas"), st.integers(0, 3)),
    st.tuples(st.just("follow"), st.sampled_from(["Accepted", "Pinned"])),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("gate"), st.sampled_from([0.0, 0.99])),
    st.tuples(st.just("remaking"), st.none()),
    st.tuples(st.just("fail"), st.sampled_from(ARTIFACTS)),
    st.tuples(st.just("heal"), st.none()),
    st.tuples(st.just("vanish"), st.integers(0, 2)),
    st.tuples(st.just("lose status"), st.none()),
    st.tuples(st.just("live"), st.sampled_from([1, 10, 60, 120])),
    st.tuples(st.just("look"), st.none()),
)


class Story:
    """Applies events to a world."""

    def __init__(self) -> None:
        self.world = ServingWorld()
        self.spec: dict[str, Any] = {}
        self.artifact = "a"
        self.world.compressed("a")
        self.world.deploy()

    def happen(self, what: str, value: Any) -> None:
        world = self.world
        match what:
            case "artifact":
                self.artifact = value
                world.compressed(value)
            case "server" | "replicas" | "follow" | "suspend":
                self.spec[what] = value
                world.deploy(**self.spec)
            case "gate":
                self.spec["gates"] = {"minimum": {"accuracy": value}} if value else {}
                world.deploy(**self.spec)
            case "remaking":
                world.compressing()
            case "fail":
                world.failing[digest(value)] = Failure()
            case "heal":
                world.failing.clear()
            case "vanish":
                revisions = sorted(world.revisions())
                if value < len(revisions):
                    world.vanish(revisions[value])
            case "lose status":
                world.objects[KEY].pop("status", None)
            case "live":
                world.live(value, step=min(value, 10))
        if what != "live":
            plan = world.look()
            assert all(item["message"] for item in plan.status["conditions"]), plan.status["conditions"]


@settings(max_examples=60, deadline=None)
@given(st.lists(events, max_size=25))
def test_it_converges_from_any_history_to_what_is_declared(story_of: list[tuple[str, Any]]) -> None:
    story = Story()
    story.world.look()
    for what, value in story_of:
        story.happen(what, value)
    # Quiet: everything heals, the last artifact is there, nothing is suspended or refused.
    story.spec |= {"suspend": False, "gates": {}, "follow": "Accepted"}
    for what, value in (("heal", None), ("artifact", story.artifact), ("live", 600)):
        story.happen(what, value)
    story.world.deploy(**story.spec)
    story.world.live(600)
    world = story.world
    assert world.status["phase"] == "Ready", world.status
    assert world.status["stable"]["artifactDigest"] == digest(story.artifact)
    assert world.status["stable"]["server"] == story.spec.get("server", "triton")
    assert {"candidate", "retiring"}.isdisjoint(world.status)
    assert world.revisions() == world.clusters() == {world.routed()}
    replicas = story.spec.get("replicas", 1)
    assert world.objects[Key("Deployment", NAMESPACE, f"{NAME}-{world.routed()}")]["spec"]["replicas"] == replicas


@settings(max_examples=40, deadline=None)
@given(st.lists(events, max_size=20))
def test_a_second_look_at_the_same_cluster_changes_nothing(story_of: list[tuple[str, Any]]) -> None:
    story = Story()
    story.world.look()
    for what, value in story_of:
        story.happen(what, value)
    story.world.look()
    before = copy.deepcopy(story.world.objects)
    plan = story.world.look()
    assert story.world.objects == before
    assert plan.events == ()
