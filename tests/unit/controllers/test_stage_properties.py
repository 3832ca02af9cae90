"""From any reachable state the pipeline converges: thousands of interleavings of users, pods and the controllers."""

from __future__ import annotations

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from kaon.api import conditions as c
from kaon.controllers import compressionjob, dataset, trainingrun
from kaon.controllers.base import Key
from kaon.controllers.conditions import is_true

from .world import COMPRESSION_SPEC, DATASET_SPEC, NAMESPACE, TRAINING_SPEC, World, result_for

SPECS = {
    ("Dataset", "data"): [
        DATASET_SPEC,
        {**DATASET_SPEC, "clean": {"missing": "fail"}},
        {**DATASET_SPEC, "suspend": True},
    ],
    ("TrainingRun", "run"): [TRAINING_SPEC, {**TRAINING_SPEC, "recipe": {"epochs": 5}}],
    ("CompressionJob", "small"): [COMPRESSION_SPEC, {**COMPRESSION_SPEC, "objective": "size"}],
}
CRS = sorted(SPECS)
ACTION = st.one_of(
    st.tuples(st.just("apply"), st.sampled_from(CRS), st.integers(0, 2)),
    st.tuples(st.just("delete"), st.sampled_from(CRS), st.just(0)),
    st.tuples(st.just("reconcile"), st.sampled_from(CRS), st.just(0)),
    st.tuples(st.sampled_from(["succeed", "fail", "vanish"]), st.just(("Job", "")), st.integers(0, 5)),
)


def act(world: World, action: str, target: tuple[str, str], number: int) -> None:
    key = Key(target[0], NAMESPACE, target[1])
    jobs = [job for job in world.jobs() if world.is_live(job)]
    if action == "apply":
        specs = SPECS[target]
        world.apply(*target, specs[number % len(specs)])
    elif action == "delete":
        world.delete(*target)
    elif action == "reconcile":
        if key in world.objects:
            world.reconcile(key)
    elif jobs:
        job = jobs[number % len(jobs)]
        if action == "succeed":
            world.run(job, result_for(job, "abcdef"[number]))
        elif action == "fail":
            world.end(job, "Failed")
        else:
            del world.objects[Key("Job", NAMESPACE, job["metadata"]["name"])]


def never_two_live_jobs_for_one_resource(world: World) -> None:
    for _, name in CRS:
        live = [job["metadata"]["name"] for job in world.jobs(name) if world.is_live(job)]
        assert len(live) <= 1, live


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTION, max_size=25))
def test_any_history_converges_and_then_rests(history: list[tuple[str, tuple[str, str], int]]) -> None:
    world = World(dataset.CONTROLLER, trainingrun.CONTROLLER, compressionjob.CONTROLLER)
    for action in history:
        act(world, *action)
        never_two_live_jobs_for_one_resource(world)
    # Inputs stop changing: the declared pipeline, and every Job that runs succeeds.
    for target, specs in SPECS.items():
        world.apply(*target, {**specs[0], "rerun": "final"})
    for _ in range(8):
        world.settle()
        for job in [job for job in world.jobs() if world.is_live(job)]:
            world.run(job, result_for(job))
    world.settle()
    for kind, name in CRS:
        obj = world.objects[Key(kind, NAMESPACE, name)]
        assert is_true(obj, c.READY), obj["status"]
        assert obj["status"]["observedGeneration"] == obj["metadata"]["generation"]
        assert len(obj["status"].get("history", [])) <= 10
    at_rest = copy.deepcopy(world.objects)
    for kind, name in CRS:
        world.reconcile(Key(kind, NAMESPACE, name))
    assert world.objects == at_rest


@settings(max_examples=200, deadline=None)
@given(st.lists(ACTION, max_size=25))
def test_ready_is_never_said_of_an_old_generation_and_a_digest_never_gets_a_second_live_job(
    history: list[tuple[str, tuple[str, str], int]],
) -> None:
    world = World(dataset.CONTROLLER, trainingrun.CONTROLLER, compressionjob.CONTROLLER)
    for action in history:
        act(world, *action)
        never_two_live_jobs_for_one_resource(world)
        for kind, name in CRS:
            key = Key(kind, NAMESPACE, name)
            if key in world.objects:
                plan = world.controllers[kind].plan(world.observe(key))
                assert plan.status["observedGeneration"] == world.objects[key]["metadata"]["generation"]
                by_type = {item["type"]: item["status"] for item in plan.status["conditions"]}
                assert not (by_type[c.READY] == "True" and by_type[c.STALLED] == "True")
                assert set(by_type) >= set(c.ALWAYS)
                assert all(item["message"] for item in plan.status["conditions"]), plan.status["conditions"]
