"""Four resources, in any order and with any edit, end in the state that they declare. Real pods, a tiny model."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator

import pytest
from installation import Installation
from kube import Object, condition
from pipelines import compression, dataset, deployment, pipeline, training
from serving import management

NAMESPACE = "e2e-pipeline"
STAGES = ("dataset", "trainingrun", "compressionjob")
KINDS = (*STAGES, "modeldeployment")


@pytest.fixture(scope="module")
def ready(kaon: Installation) -> Installation:
    """The tiny pipeline, once, all at once."""
    kaon.kube.apply(pipeline(), namespace=NAMESPACE)
    for kind in KINDS:
        kaon.kube.until_ready(kind, "tiny", NAMESPACE, timeout=300)
    return kaon


@pytest.fixture(autouse=True)
def as_declared(ready: Installation) -> Iterator[None]:
    """Each test leaves the pipeline as it found it."""
    yield
    ready.kube.apply(pipeline(), namespace=NAMESPACE)
    for kind in KINDS:
        ready.kube.until_ready(kind, "tiny", NAMESPACE, timeout=300)


def end_state(kaon: Installation) -> Object:
    """What must be the same, however it was reached."""
    state = {}
    for kind in STAGES:
        status = (kaon.kube.get(kind, "tiny", NAMESPACE) or {})["status"]
        state[kind] = (status["inputDigest"], status["artifact"]["digest"])
    served = (kaon.kube.get("modeldeployment", "tiny", NAMESPACE) or {})["status"]
    state["modeldeployment"] = (served["stable"]["artifactDigest"], served["stable"]["revision"])
    return state


def jobs(kaon: Installation) -> dict[str, str]:
    """The Jobs there are: name -> UID."""
    return {job["metadata"]["name"]: job["metadata"]["uid"] for job in kaon.kube.list("jobs", NAMESPACE)}


def delete_all(kaon: Installation) -> None:
    kaon.kube("delete", ",".join(KINDS), "--all", "-n", NAMESPACE, "--wait=true")


def test_every_stage_is_ready_with_an_artifact_and_every_lineage_holds(ready: Installation) -> None:
    state = end_state(ready)
    assert state["modeldeployment"][0] == state["compressionjob"][1]
    run = ready.kube.get("trainingrun", "tiny", NAMESPACE)
    assert run and run["status"]["dataset"]["digest"] == state["dataset"][1]
    assert run["status"]["evaluation"]["metrics"]["accuracy"]["value"] > 0.9


def test_a_servers_management_is_closed_in_the_server_itself(ready: Installation) -> None:
    pods = ready.kube.list("pods", NAMESPACE, "app.kubernetes.io/component=server")
    running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
    assert running
    for pod in running:
        # Past the router. The local cluster's network does not enforce NetworkPolicies.
        assert list(management.left_open(pod["status"]["podIP"], 8000, "tiny")) == []


def test_any_order_one_at_a_time_or_all_at_once_ends_in_the_same_state(ready: Installation) -> None:
    expected = end_state(ready)
    orders = random.Random(7).sample(list(itertools.permutations(pipeline())), 3)
    for order, pause in [(tuple(reversed(pipeline())), 2.0), *((order, 0.3) for order in orders)]:
        delete_all(ready)
        for item in order:
            ready.kube.apply([item], namespace=NAMESPACE)
            time.sleep(pause)
        for kind in KINDS:
            ready.kube.until_ready(kind, "tiny", NAMESPACE, timeout=180)
        assert end_state(ready) == expected


def test_applied_again_unchanged_nothing_moves_for_two_minutes(ready: Installation) -> None:
    ready.settle(NAMESPACE)

    def versions() -> dict[str, str]:
        kinds = f"{','.join(KINDS)},reports,jobs,deployments,services,configmaps,serviceaccounts,rolebindings"
        return {
            f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for item in ready.kube.list(kinds, NAMESPACE)
        }

    before = versions()
    ready.kube.apply(pipeline(), namespace=NAMESPACE)
    for _ in range(8):
        time.sleep(15)
        assert versions() == before


def test_an_edited_budget_runs_only_compression_and_what_follows(ready: Installation) -> None:
    before, served = jobs(ready), end_state(ready)
    ready.kube.apply([compression(budget={"maxDrop": {"accuracy": 0.4}})], namespace=NAMESPACE)
    ready.kube.until_ready("compressionjob", "tiny", NAMESPACE, timeout=180)
    ready.kube.until(
        "modeldeployment",
        "tiny",
        NAMESPACE,
        lambda obj: obj["status"]["stable"]["artifactDigest"] != served["modeldeployment"][0],
        timeout=180,
        what="serving the new artifact",
    )
    after = jobs(ready)
    new = set(after) - set(before)
    assert len(new) == 1 and new.pop().startswith("tiny-cjob-")
    assert {name: uid for name, uid in after.items() if "-cjob-" not in name} == {
        name: uid for name, uid in before.items() if "-cjob-" not in name
    }


def test_an_edited_cleaning_runs_everything_again(ready: Installation) -> None:
    before = end_state(ready)
    ready.kube.apply([dataset(clean={"missing": "fail"})], namespace=NAMESPACE)
    ready.kube.until_ready("dataset", "tiny", NAMESPACE, timeout=120)
    for kind in STAGES:
        digest = before[kind][0]
        ready.kube.until(
            kind, "tiny", NAMESPACE, lambda obj, old=digest: obj["status"].get("inputDigest", old) != old, timeout=120
        )
        ready.kube.until_ready(kind, "tiny", NAMESPACE, timeout=180)
    ready.kube.until_ready("modeldeployment", "tiny", NAMESPACE, timeout=180)
    after = end_state(ready)
    assert all(before[kind] != after[kind] for kind in KINDS)


@pytest.mark.parametrize("kind", STAGES)
def test_a_resource_deleted_and_applied_again_reuses_its_stage_within_seconds(ready: Installation, kind: str) -> None:
    expected = end_state(ready)
    ready.kube("delete", kind, "tiny", "-n", NAMESPACE, "--wait=true")
    ready.kube.apply(pipeline(), namespace=NAMESPACE)
    obj = ready.kube.until_ready(kind, "tiny", NAMESPACE, timeout=60)
    assert obj["status"]["reused"] is True
    for other in KINDS:
        ready.kube.until_ready(other, "tiny", NAMESPACE, timeout=60)
    assert end_state(ready) == expected


def test_an_upgrade_to_images_with_other_tags_runs_nothing_again(ready: Installation) -> None:
    before, state = jobs(ready), end_state(ready)
    with ready.retagged_operator():
        for kind in STAGES:
            ready.kube.until_ready(kind, "tiny", NAMESPACE, timeout=60)
        assert jobs(ready) == before
        assert end_state(ready) == state


def test_kubectl_diff_of_every_resource_is_empty_after_reconciling(ready: Installation) -> None:
    assert ready.diff(pipeline(), NAMESPACE) == ""


def test_helm_test_of_the_installation_succeeds(ready: Installation) -> None:
    assert "Phase:          Succeeded" in ready.helm("test", "kaon")


def test_a_switch_of_the_server_serves_the_same_artifact_from_the_other(ready: Installation) -> None:
    ready.kube.apply([deployment(server="torchserve")], namespace=NAMESPACE)
    obj = ready.kube.until(
        "modeldeployment",
        "tiny",
        NAMESPACE,
        lambda found: found["status"].get("stable", {}).get("server") == "torchserve",
        timeout=300,
        what="served by TorchServe",
    )
    assert obj["status"]["stable"]["artifactDigest"] == end_state(ready)["compressionjob"][1]
    answer = ready.ask("tiny", NAMESPACE, ["a lovely day"])[0]
    assert answer["label"] in (ready.kube.get("dataset", "tiny", NAMESPACE) or {})["status"]["classes"]


def test_suspend_keeps_what_serves_and_starts_nothing(ready: Installation) -> None:
    before = jobs(ready)
    ready.kube.apply([training(suspend=True, rerun="suspended")], namespace=NAMESPACE)
    ready.kube.until_reason("trainingrun", "tiny", NAMESPACE, "Suspended", timeout=30)
    assert set(jobs(ready)) <= set(before)
    served = ready.kube.get("modeldeployment", "tiny", NAMESPACE)
    assert served and served["status"]["readyReplicas"] == 1
    assert condition(served, "Ready") is not None
