"""One leader: hand-over, failover, and a leader that was stopped for longer than its lease."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from kaon.engine.lease import LEASE_SECONDS, RETRY_SECONDS


def test_only_one_of_two_leads_and_the_standby_is_ready_with_warm_caches(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    first = start_tiny().wait_leading()
    second = start_tiny()
    kubectl.apply(dataset())
    eventually(lambda: kubectl.get("dataset", "one", namespace).get("status"), "a status")
    assert first.metric("kaon_leader") == 1
    assert second.metric("kaon_leader") == 0
    eventually(lambda: second.metric("kaon_resources", kind="Dataset", phase="Succeeded") >= 1, "a warm cache")
    assert second.metric("kaon_api_writes_total") == 0
    assert second.probe("/readyz")[0] == 200


def test_a_leader_that_is_told_to_stop_hands_over_at_once(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], eventually: Any
) -> None:
    first = start_tiny().wait_leading()
    second = start_tiny()
    began = time.monotonic()
    first.signal(signal.SIGTERM)
    second.wait_leading(seconds=10)
    assert time.monotonic() - began < 2 * RETRY_SECONDS + 2
    assert first.wait_exit() == 0


def test_a_killed_leader_is_replaced_when_its_lease_has_run_out(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    first = start_tiny().wait_leading()
    second = start_tiny()
    time.sleep(2 * RETRY_SECONDS)
    began = time.monotonic()
    first.signal(signal.SIGKILL)
    kubectl.apply(dataset())
    eventually(lambda: kubectl.get("dataset", "one", namespace).get("status"), "a status", seconds=30)
    took = time.monotonic() - began
    print(f"failover after kill -9: {took:.1f} s")
    assert second.metric("kaon_leader") == 1
    assert LEASE_SECONDS - 2 * RETRY_SECONDS < took < LEASE_SECONDS + 2 * RETRY_SECONDS + 2


def test_a_leader_that_wakes_after_its_lease_ran_out_writes_nothing_and_exits(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], dataset: Callable[..., Any], eventually: Any
) -> None:
    first = start_tiny(TINY_WRITER="first").wait_leading()
    second = start_tiny(TINY_WRITER="second")
    names = [f"d{number}" for number in range(10)]
    kubectl.apply(*(dataset(name) for name in names))
    eventually(lambda: all("status" in item for item in kubectl.list("dataset", namespace)), "all statuses")
    first.signal(signal.SIGSTOP)
    second.wait_leading()

    def writers() -> set[str]:
        children = kubectl.list("configmap", namespace, "kaon.dev/owner-uid")
        return {child["data"]["writer"] for child in children if "writer" in child.get("data", {})}

    eventually(lambda: writers() == {"second"}, "every child by the new leader")
    versions = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in kubectl.list("cm", namespace)}
    # Everything that changed meanwhile waits in the old leader's sockets; it would want to put all of it back.
    first.signal(signal.SIGCONT)
    assert first.wait_exit(10) != 0
    time.sleep(1)
    assert {
        item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in kubectl.list("cm", namespace)
    } == versions
    assert writers() == {"second"}
    assert "the lease is lost" in first.log


def test_a_leader_whose_lease_is_taken_by_another_holder_exits(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any]
) -> None:
    first = start_tiny().wait_leading()
    thief = '{"spec":{"holderIdentity":"thief"}}'
    kubectl("patch", "lease", "kaon-operator", "-n", namespace, "--type=merge", "-p", thief)
    assert first.wait_exit(10) != 0
