"""A result counts when it is signed for its very Report and names the folder that was told; nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from knownkeys import ROOT_KEY, TRUST, signed

from kaon.api import conditions as c
from kaon.contract.attestation import attest
from kaon.contract.jobspec import JobSpec
from kaon.contract.trust import TrustDomains
from kaon.controllers import compressionjob, dataset, trainingrun
from kaon.controllers.base import Key, Object
from kaon.controllers.conditions import timestamp

from .world import DATASET_SPEC, NAMESPACE, World, dataset_result, training_result

Forge = Callable[[JobSpec, Object], Object]


def status(world: World) -> Object:
    found: Object = world.objects[Key("Dataset", NAMESPACE, "data")]["status"]
    return found


def condition(world: World, name: str) -> Object:
    return next(item for item in status(world)["conditions"] if item["type"] == name)


def ended(world: World, forge: Forge, result: Object | None = None) -> World:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    job = world.jobs("data")[0]
    times = {"startTime": timestamp(world.now), "completionTime": timestamp(world.now)}
    world.report(job, forge(world.told(job), {**(result or dataset_result()), **times}))
    world.end(job, "Complete")
    world.settle()
    return world


@pytest.fixture
def world() -> World:
    return World(dataset.CONTROLLER, trainingrun.CONTROLLER, compressionjob.CONTROLLER)


def with_uri(uri: str) -> Forge:
    """Signed with the right key, but for an artifact elsewhere."""

    def forge(job: JobSpec, result: Object) -> Object:
        elsewhere = {**result, "artifact": {**result["artifact"], "uri": uri}}
        return {"result": elsewhere, "resultSignature": attest(job, elsewhere, TRUST.key(NAMESPACE))}

    return forge


def for_another(**changes: Any) -> Forge:
    """Signed with the right key for another Report."""

    def forge(job: JobSpec, result: Object) -> Object:
        said = signed(job, result)
        return {**said, "resultSignature": attest(job.model_copy(update=changes), said["result"], TRUST.key(NAMESPACE))}

    return forge


def altered(job: JobSpec, result: Object) -> Object:
    said = signed(job, result)
    return {**said, "result": {**said["result"], "cost": {"cpuSeconds": 1, "gpuSeconds": 0, "wallSeconds": 1}}}


FORGERIES: dict[str, tuple[Forge, str]] = {
    "unsigned": (lambda job, result: {"result": signed(job, result)["result"]}, "not signed for this Report"),
    "no signature": (lambda job, result: {**signed(job, result), "resultSignature": "AAAA"}, "not signed"),
    "by another domain": (
        lambda job, result: signed(job, result, TrustDomains(ROOT_KEY, {NAMESPACE: "others"})),
        "not signed",
    ),
    "by another installation": (lambda job, result: signed(job, result, TrustDomains(bytes(32))), "not signed"),
    "another figure": (altered, "not signed"),
    "another report": (for_another(report="other"), "not signed"),
    "another digest": (for_another(input_digest="sha256:" + "0" * 64), "not signed"),
    "another folder": (with_uri(f"s3://kaon/artifacts/{NAMESPACE}/datasets/" + "0" * 64), "which should be"),
    "another domain's folder": (with_uri("s3://kaon/artifacts/victim/datasets/" + "0" * 64), "which should be"),
    "another store": (with_uri("https://elsewhere.example/x"), "which should be"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_result_that_is_not_what_was_told_is_refused_and_gives_no_artifact(world: World, name: str) -> None:
    forge, message = FORGERIES[name]
    ended(world, forge)
    stalled = condition(world, c.STALLED)
    assert (stalled["status"], stalled["reason"]) == ("True", c.RESULT_UNTRUSTED)
    assert message in stalled["message"] and "spec.rerun" in stalled["message"]
    assert condition(world, c.READY)["status"] == "False"
    assert "artifact" not in status(world) and "rows" not in status(world)


def test_the_figures_of_another_program_are_refused(world: World) -> None:
    ended(world, signed, training_result())
    assert "has the figures of training where dataset was asked" in condition(world, c.STALLED)["message"]


def test_a_signed_result_is_accepted(world: World) -> None:
    ended(world, signed)
    assert condition(world, c.READY)["status"] == "True"


def test_the_address_follows_from_the_content_that_the_result_tells(world: World) -> None:
    content = {"source-0": "sha256:" + "1" * 64}

    def tells(job: JobSpec, result: Object) -> Object:
        return signed(job.model_copy(update={"content": content}), {**result, "content": content})

    ended(world, tells)
    assert condition(world, c.READY)["status"] == "True"


def test_a_refused_result_runs_nothing_again_by_itself_and_rerun_does(world: World) -> None:
    ended(world, FORGERIES["unsigned"][0])
    before = len(world.jobs_created)
    world.settle()
    assert len(world.jobs_created) == before
    world.apply("Dataset", "data", {**DATASET_SPEC, "rerun": "once more"})
    world.settle()
    assert len(world.jobs_created) == before + 1


def test_claims_behind_one_path_are_two_stages(world: World) -> None:
    """The path is the same and the bytes may be others."""
    digests = set()
    for claim in ("one", "other"):
        volume = {"name": "data", "persistentVolumeClaim": claim, "mountPath": "/mnt/data"}
        world.apply("Dataset", claim, {**DATASET_SPEC, "podTemplate": {"volumes": [volume]}})
        world.settle()
        digests.add(world.objects[Key("Dataset", NAMESPACE, claim)]["status"]["inputDigest"])
    assert len(digests) == 2
