"""What the engine does to children and status, seen from outside: a process against a real API server."""

from __future__ import annotations

import functools
import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(params=["32", "0"], ids=["kept in memory", "read whenever needed"])
def start_tiny(start_tiny: Callable[..., Any], request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Operators that keep objects in memory, and such that have no room for any: both do the same."""
    return functools.partial(start_tiny, KAON_NAMESPACE_CACHE_MIB=request.param)


OURS = ("datasets", "configmaps", "events", "jobs", "reports", "serviceaccounts", "rolebindings")
WRITES = ("POST", "PUT", "PATCH", "APPLY")


def writes(kubectl: Any) -> dict[str, float]:
    """The API server's own count of writes to what the operator writes: no leases, and no deletions, which the
    garbage collector makes for the namespaces of other tests."""
    found: dict[str, float] = {}
    for line in kubectl("get", "--raw", "/metrics").splitlines():
        if line.startswith('apiserver_request_total{code="20') and any(f'verb="{verb}"' in line for verb in WRITES):
            resource = line.split('resource="')[1].split('"')[0]
            if resource in OURS:
                series, _, value = line.rpartition(" ")
                found[series] = float(value)
    return found


def test_children_and_status_appear_and_the_children_carry_the_owner_reference(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    start_tiny()
    kubectl.apply(dataset(rerun="a"))
    found = eventually(lambda: (kubectl.get("dataset", "one", namespace) or {}).get("status"), "a status")
    assert found["phase"] == "Succeeded"
    child = kubectl.get("configmap", "one-config", namespace)
    owner = child["metadata"]["ownerReferences"]
    uid = kubectl.get("dataset", "one", namespace)["metadata"]["uid"]
    assert [(ref["kind"], ref["uid"], ref["controller"], ref["blockOwnerDeletion"]) for ref in owner] == [
        ("Dataset", uid, True, True)
    ]


def test_a_hand_edited_child_is_put_back(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    start_tiny()
    kubectl.apply(dataset(rerun="right"))
    eventually(lambda: kubectl.get("configmap", "one-config", namespace), "the child")
    kubectl("patch", "configmap", "one-config", "-n", namespace, "-p", '{"data":{"token":"wrong"}}')
    eventually(lambda: kubectl.get("configmap", "one-config", namespace)["data"]["token"] == "right", "the old content")


def test_a_deleted_child_is_made_again(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    start_tiny()
    kubectl.apply(dataset())
    first = eventually(lambda: kubectl.get("configmap", "one-once", namespace), "the child")
    kubectl("delete", "configmap", "one-once", "-n", namespace)
    again = eventually(lambda: kubectl.get("configmap", "one-once", namespace), "the child again")
    assert again["metadata"]["uid"] != first["metadata"]["uid"]


def test_a_child_that_leaves_the_plan_is_deleted_and_the_others_stay(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    start_tiny()
    kubectl.apply(dataset(backoffLimit=1))
    eventually(lambda: kubectl.get("configmap", "one-extra", namespace), "the extra child")
    once = kubectl.get("configmap", "one-once", namespace)["metadata"]["uid"]
    kubectl.apply(dataset(backoffLimit=0))
    eventually(lambda: kubectl.get("configmap", "one-extra", namespace) is None, "no extra child")
    assert kubectl.get("configmap", "one-once", namespace)["metadata"]["uid"] == once


def test_idle_resources_cost_no_writes_and_a_restart_costs_none_either(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    only_here = ("--namespaces", namespace, "--resync-seconds", "2")  # other tests' namespaces are still being deleted
    first = start_tiny(*only_here)
    kubectl.apply(*(dataset(f"d{number}", backoffLimit=1) for number in range(5)))
    eventually(lambda: len(kubectl.list("configmap", namespace, "kaon.dev/owner-uid")) == 15, "all children")
    eventually(lambda: all("status" in item for item in kubectl.list("dataset", namespace)), "all statuses")
    eventually(lambda: len(kubectl.list("events.events.k8s.io", namespace)) == 5, "all events")
    before = writes(kubectl)
    time.sleep(6)  # several resyncs
    assert writes(kubectl) == before
    first.signal(signal.SIGTERM)
    assert first.wait_exit() == 0
    second = start_tiny(*only_here).wait_leading()
    eventually(lambda: second.metric("kaon_reconcile_duration_seconds_count", outcome="ok") >= 5, "five reconciles")
    time.sleep(3)
    assert writes(kubectl) == before


def test_a_field_dropped_by_a_new_version_of_the_operator_leaves_the_child_after_the_restart(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    first = start_tiny(TINY_WRITER="old")
    kubectl.apply(dataset())
    eventually(lambda: kubectl.get("configmap", "one-config", namespace), "the child")
    first.signal(signal.SIGTERM)
    first.wait_exit()
    start_tiny(TINY_WRITER="new")
    eventually(lambda: kubectl.get("configmap", "one-config", namespace)["data"]["writer"] == "new", "the new content")


def test_a_resource_applied_again_under_its_old_name_waits_for_the_old_children_and_gets_its_own(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    operator = start_tiny()
    kubectl.apply(dataset())
    old = eventually(lambda: kubectl.get("configmap", "one-once", namespace), "the child")
    # A finalizer keeps the old child alive for as long as the test wants.
    hold = '{"metadata":{"finalizers":["kaon.dev/test"]}}'
    kubectl("patch", "configmap", "one-once", "-n", namespace, "--type=merge", "-p", hold)
    kubectl("delete", "dataset", "one", "-n", namespace)
    kubectl.apply(dataset())
    eventually(lambda: "waiting for a deleted namesake" in operator.log, "the operator waits")
    assert "status" not in kubectl.get("dataset", "one", namespace)
    kubectl(
        "patch",
        "configmap",
        "one-once",
        "-n",
        namespace,
        "--type=json",
        "-p",
        json.dumps([{"op": "remove", "path": "/metadata/finalizers"}]),
    )
    eventually(lambda: kubectl.get("dataset", "one", namespace).get("status"), "a status")
    uid = kubectl.get("dataset", "one", namespace)["metadata"]["uid"]
    child = kubectl.get("configmap", "one-once", namespace)
    assert child["metadata"]["uid"] != old["metadata"]["uid"]
    assert child["metadata"]["ownerReferences"][0]["uid"] == uid


def test_a_plan_that_raises_is_logged_and_tried_again_and_stops_nobody_else(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    operator = start_tiny("--workers", "1")
    kubectl.apply(dataset("bad", rerun="explode"), dataset("good"))
    eventually(lambda: (kubectl.get("dataset", "good", namespace) or {}).get("status"), "the other one's status")
    eventually(lambda: operator.metric("kaon_reconcile_duration_seconds_count", outcome="error") >= 2, "two tries")
    assert "told to explode" in operator.log
    assert operator.probe("/healthz")[0] == 200
    kubectl.apply(dataset("bad", rerun="fine"))
    eventually(lambda: kubectl.get("dataset", "bad", namespace).get("status"), "a status once it can be planned")


def test_an_event_is_recorded_once_for_each_message(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    start_tiny()
    kubectl.apply(dataset(rerun="a"))
    eventually(lambda: kubectl.list("events.events.k8s.io", namespace), "an event")
    kubectl.apply(dataset(rerun="b"))
    notes = eventually(
        lambda: (
            len(found := [event["note"] for event in kubectl.list("events.events.k8s.io", namespace)]) >= 2 and found
        ),
        "two events",
    )
    assert sorted(notes) == ["The token is a.", "The token is b."]


def test_an_optional_kind_is_used_as_soon_as_the_cluster_serves_it(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    start_tiny("--resync-seconds", "1")
    kubectl.apply(dataset())
    eventually(lambda: kubectl.get("dataset", "one", namespace).get("status"), "a status")
    kubectl.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": "podmonitors.monitoring.coreos.com",
                "annotations": {"api-approved.kubernetes.io": "unapproved, test only"},
            },
            "spec": {
                "group": "monitoring.coreos.com",
                "scope": "Namespaced",
                "names": {"kind": "PodMonitor", "plural": "podmonitors", "singular": "podmonitor"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                ],
            },
        }
    )
    try:
        eventually(lambda: "one-monitor" in kubectl("get", "podmonitors", "-n", namespace, check=False), "the monitor")
    finally:
        kubectl("delete", "crd", "podmonitors.monitoring.coreos.com")


def test_nothing_is_done_for_a_resource_that_is_being_deleted(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    kept = dataset("kept")
    kept["metadata"]["finalizers"] = ["kaon.dev/test"]
    kubectl.apply(kept)
    kubectl("delete", "dataset", "kept", "-n", namespace, "--wait=false")
    operator = start_tiny()
    kubectl.apply(dataset("other"))
    eventually(lambda: (kubectl.get("dataset", "other", namespace) or {}).get("status"), "the other one's status")
    assert operator.metric("kaon_reconcile_duration_seconds_count", outcome="ok") >= 2
    assert kubectl.get("configmap", "kept-config", namespace) is None
    kubectl("patch", "dataset", "kept", "-n", namespace, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
