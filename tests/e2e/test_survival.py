"""Whatever dies, the pipeline ends in the state that was declared, and nothing runs twice."""

from __future__ import annotations

import json
import random
import threading
import time

from installation import Installation
from kube import READY, Object, condition
from pipelines import compression, dataset, pipeline, training
from tinymodel import TINY_RECIPE

NAMESPACE = "e2e-survival"
STAGES = ("dataset", "trainingrun", "compressionjob")


def test_ten_kills_of_the_operator_change_nothing_of_the_end(kaon: Installation) -> None:
    chance = random.Random(20)
    created: dict[str, set[str]] = {}
    stop = threading.Event()

    def record() -> None:
        while not stop.is_set():
            for job in kaon.kube.list("jobs", NAMESPACE):
                created.setdefault(job["metadata"]["name"], set()).add(job["metadata"]["uid"])
            time.sleep(0.3)

    watcher = threading.Thread(target=record)
    watcher.start()
    try:
        fresh = [{**item, "spec": {**item["spec"], "rerun": "survival"}} for item in pipeline()]
        kaon.kube.apply(fresh, namespace=NAMESPACE)
        for _ in range(10):
            time.sleep(chance.uniform(0.5, 7))
            kaon.kill_operator()
        for kind in (*STAGES, "modeldeployment"):
            kaon.kube.until_ready(kind, "tiny", NAMESPACE, timeout=300)
        time.sleep(2)
    finally:
        stop.set()
        watcher.join()
    assert sorted(name.split("-")[1] for name in created) == ["cjob", "dset", "trun"]
    assert all(len(uids) == 1 for uids in created.values()), created


def test_a_training_pod_killed_in_the_middle_resumes_from_its_checkpoint(kaon: Installation) -> None:
    kaon.kube.apply([dataset()], namespace=NAMESPACE)
    kaon.kube.until_ready("dataset", "tiny", NAMESPACE, timeout=120)
    long = training(
        "long",
        rerun="killed",
        recipe={**TINY_RECIPE, "epochs": 200},
        checkpoint={"everySteps": 25},
    )
    kaon.kube.apply([long], namespace=NAMESPACE)
    kaon.kube.until(
        "trainingrun",
        "long",
        NAMESPACE,
        lambda obj: obj["status"].get("lastCheckpoint", {}).get("step", 0) >= 25,
        timeout=180,
        what="at a checkpoint",
    )
    pod = kaon.kube.list("pods", NAMESPACE, "kaon.dev/owner=long")[0]["metadata"]["name"]
    kaon.kube("delete", "pod", pod, "-n", NAMESPACE, "--grace-period=0", "--force")
    resumed = kaon.kube.until(
        "trainingrun",
        "long",
        NAMESPACE,
        lambda obj: obj["status"].get("resumedFromStep", 0) >= 25,
        timeout=120,
        what="resumed",
    )
    assert resumed["status"]["attempts"] >= 2
    done = kaon.kube.until_ready("trainingrun", "long", NAMESPACE, timeout=300)
    assert done["status"]["resumedFromStep"] >= 25


def test_a_training_pod_that_is_deleted_resumes_and_does_not_count_as_failed(kaon: Installation) -> None:
    """As by hand, or by an autoscaler that evicts nothing: the pod has no condition DisruptionTarget."""
    kaon.kube.apply([dataset()], namespace=NAMESPACE)
    kaon.kube.until_ready("dataset", "tiny", NAMESPACE, timeout=120)
    patient = training(
        "patient",
        rerun="deleted",
        recipe={**TINY_RECIPE, "epochs": 300},
        checkpoint={"everySteps": 25},
        backoffLimit=0,
    )
    kaon.kube.apply([patient], namespace=NAMESPACE)
    reached = 0
    for _ in range(2):
        found = kaon.kube.until(
            "trainingrun",
            "patient",
            NAMESPACE,
            lambda obj, beyond=reached: obj["status"].get("lastCheckpoint", {}).get("step", 0) > beyond,
            timeout=180,
            what="at a newer checkpoint",
        )
        reached = found["status"]["lastCheckpoint"]["step"]
        (pod,) = [
            item["metadata"]["name"]
            for item in kaon.kube.list("pods", NAMESPACE, "kaon.dev/owner=patient")
            if item["status"]["phase"] == "Running" and "deletionTimestamp" not in item["metadata"]
        ]
        kaon.kube("delete", "pod", pod, "-n", NAMESPACE)
        kaon.kube.until(
            "trainingrun",
            "patient",
            NAMESPACE,
            lambda obj, beyond=reached: obj["status"].get("resumedFromStep", 0) >= beyond,
            timeout=120,
            what="resumed",
        )
    done = kaon.kube.until_ready("trainingrun", "patient", NAMESPACE, timeout=300)
    assert done["status"]["attempts"] == 3
    job = kaon.kube.get("job", done["status"]["jobName"], NAMESPACE)
    assert job is not None and job["status"].get("failed", 0) == 0, job


def test_a_compression_pod_killed_in_the_middle_repeats_no_finished_trial(kaon: Installation) -> None:
    kaon.kube.apply([dataset(), training()], namespace=NAMESPACE)
    kaon.kube.until_ready("trainingrun", "tiny", NAMESPACE, timeout=120)
    budget = {"maxDrop": {"accuracy": 0.5}, "onInconclusive": "Accept"}
    search = compression(
        "search", rerun="killed", budget=budget, strategy="auto", search={"maxTrials": 6, "linear": False}
    )
    del search["spec"]["steps"]
    kaon.kube.apply([search], namespace=NAMESPACE)

    def finished(obj: Object) -> int:
        return int(obj["status"].get("progress", {}).get("step", 1)) - 1

    before = kaon.kube.until(
        "compressionjob", "search", NAMESPACE, lambda obj: finished(obj) >= 2, timeout=180, what="two trials on"
    )
    pod = kaon.kube.list("pods", NAMESPACE, "kaon.dev/owner=search")[0]["metadata"]["name"]
    kaon.kube("delete", "pod", pod, "-n", NAMESPACE, "--grace-period=0", "--force")
    kaon.kube.until(
        "compressionjob",
        "search",
        NAMESPACE,
        lambda obj: "Resumed from" in (condition(obj, READY) or {}).get("message", ""),
        timeout=120,
        what="resumed",
    )
    done = kaon.kube.until_ready("compressionjob", "search", NAMESPACE, timeout=300)
    uri = kaon.file_uri(done["status"]["artifact"]["uri"], "report.json")
    trials = json.loads(kaon.read(uri))["trials"]
    names = [item["name"] for item in trials]
    reused = [item["reused"] for item in trials]
    assert len(set(names)) == len(names)
    assert sum(reused) >= finished(before), "what was finished before the pod died was made again"
    assert reused == sorted(reused, reverse=True) and not all(reused), "the search went on after what it had"
