"""What the router may take: figures of its memory limit and of the largest body."""

from __future__ import annotations

from typing import Any

import pytest

from kaon.api.modeldeployment import ModelDeploymentSpec, Route
from kaon.api.signature import TEXT_SIGNATURE
from kaon.resources import router_pressure as pressure
from kaon.resources.base import Images
from kaon.resources.router_config import Backend, router_files
from kaon.resources.router_deployment import BOOTSTRAP_ANNOTATION, router_config_map, router_deployment

MIB = 2**20
OWNER = {"apiVersion": "kaon.dev/v1alpha1", "kind": "ModelDeployment",
         "metadata": {"name": "m", "namespace": "ml", "uid": "u"}}  # fmt: skip
IMAGES = Images(jobs="j", triton="t", torchserve="s", router="r")
BACKEND = Backend("aaaaaaaa", "triton", "m-aaaaaaaa.ml.svc.cluster.local.", 100, 8, TEXT_SIGNATURE)


def monitors(files: dict[str, Any]) -> dict[str, Any]:
    found = files["bootstrap.json"]["overload_manager"]["resource_monitors"]
    return {item["name"].rpartition(".")[2]: item["typed_config"] for item in found}


@pytest.mark.parametrize("memory", [96 * MIB, 256 * MIB, 512 * MIB, 2048 * MIB])
def test_the_heap_leaves_room_for_code_and_for_the_bodies_that_are_checked(memory: int) -> None:
    for largest in (1024, MIB, 8 * MIB):
        route = Route(max_request_bytes=largest)
        heap = pressure.heap_bytes(memory, route)
        assert heap == pressure.LEAST_HEAP_BYTES or heap + 2 * max(largest - MIB, 0) < 0.85 * memory
        assert 0 < pressure.max_connections(memory, route) <= pressure.MAX_CONNECTIONS


def test_fewer_connections_are_let_in_where_bodies_may_be_large() -> None:
    sizes = (1024, 128 * 1024, MIB, 10 * MIB, 100 * MIB)
    counts = [pressure.max_connections(1024 * MIB, Route(max_request_bytes=size)) for size in sizes]
    assert counts == [4934, 4934, 616, 60, pressure.LEAST_CONNECTIONS]
    for size, count in zip(sizes[:-1], counts, strict=False):
        assert count * size <= 0.75 * pressure.heap_bytes(1024 * MIB, Route(max_request_bytes=size))
    assert pressure.max_connections(64 * 1024 * MIB, Route(max_request_bytes=1024)) == pressure.MAX_CONNECTIONS


def test_a_body_has_more_time_the_larger_it_may_be() -> None:
    assert [pressure.arrival_seconds(Route(max_request_bytes=size)) for size in (1024, MIB, 100 * MIB)] == [11, 11, 110]
    traffic = router_files("m", Route(max_request_bytes=100 * MIB), [BACKEND])["lds.json"]["resources"][0]
    assert traffic["filter_chains"][0]["filters"][0]["typed_config"]["request_timeout"] == "110s"


def test_the_bounds_follow_the_limit_that_the_user_set_and_a_change_starts_the_pods_anew() -> None:
    def made(limit: str) -> tuple[Any, str]:
        spec = ModelDeploymentSpec.model_validate(
            {"modelRef": {"kind": "TrainingRun", "name": "x"}, "router": {"resources": {"limits": {"memory": limit}}}}
        )
        limits = {"memory": "2Gi"}
        config = router_config_map(OWNER, spec, [BACKEND], None, "sha256:" + "a" * 64, limits)
        pod = router_deployment(OWNER, spec, IMAGES, "sha256:" + "a" * 64, limits)["spec"]["template"]
        return config["data"]["bootstrap.json"], pod["metadata"]["annotations"][BOOTSTRAP_ANNOTATION]

    (small, first), (large, second) = made("256Mi"), made("1Gi")
    assert all(str(pressure.heap_bytes(size * MIB, Route())) in text for size, text in ((256, small), (1024, large)))
    assert first != second


def test_probes_and_scrapes_are_answered_under_pressure() -> None:
    traffic, ops = router_files("m", Route(), [BACKEND])["lds.json"]["resources"]
    assert ops["ignore_global_conn_limit"] and ops["bypass_overload_manager"]
    assert "ignore_global_conn_limit" not in traffic and "bypass_overload_manager" not in traffic
    assert traffic["per_connection_buffer_limit_bytes"] == pressure.BUFFER_BYTES


def test_the_bootstrap_names_heap_and_connections() -> None:
    found = monitors(router_files("m", Route(), [BACKEND], 512 * MIB))
    assert found["fixed_heap"]["max_heap_size_bytes"] == pressure.heap_bytes(512 * MIB, Route()) > 380 * MIB
    limit = found["global_downstream_max_connections"]["max_active_downstream_connections"]
    assert limit == pressure.max_connections(512 * MIB, Route())
