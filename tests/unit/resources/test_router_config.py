"""Envoy's configuration, checked by Envoy itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kaon.api.modeldeployment import Route
from kaon.api.signature import TEXT_SIGNATURE, Signature, TensorSpec
from kaon.resources.router_config import Backend, router_files, static_config

TABLE = Signature(
    inputs=[TensorSpec(name="age", datatype="FP64", shape=[-1, 1], optional=True)],
    outputs=[TensorSpec(name="prediction", datatype="FP64", shape=[-1, 1])],
)
STABLE = Backend("aaaaaaaa", "triton", "reuters-aaaaaaaa.ml.svc.cluster.local.", 100, 8, TEXT_SIGNATURE)
CANDIDATE = Backend("12345678", "torchserve", "reuters-12345678.ml.svc.cluster.local.", 0, 8, TEXT_SIGNATURE)
BACKENDS = {
    "one": [STABLE],
    "with a candidate": [STABLE, CANDIDATE],
    "canary": [
        Backend("aaaaaaaa", "triton", STABLE.host, 90, 8, TEXT_SIGNATURE),
        Backend("12345678", "torchserve", CANDIDATE.host, 10, 8, TEXT_SIGNATURE),
    ],
    "torchserve": [Backend("12345678", "torchserve", CANDIDATE.host, 100, 8, TEXT_SIGNATURE)],
}


@pytest.fixture(scope="module")
def envoy() -> str:
    beside = str(Path(sys.executable).parent)
    found = shutil.which("envoy", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if found is None:
        pytest.fail("envoy is missing: install requirements/router.lock into the environment")
    return found


@pytest.mark.parametrize("case", BACKENDS)
def test_envoy_takes_the_configuration(envoy: str, tmp_path: Path, case: str) -> None:
    file = tmp_path / "static.json"
    file.write_text(json.dumps(static_config("reuters", Route(timeout_seconds=0.25), BACKENDS[case])))
    done = subprocess.run([envoy, "--mode", "validate", "-c", str(file)], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "eprecated" not in said


def routes(backends: list[Backend], route: Route | None = None) -> dict[str, Any]:
    """The first route of each path."""
    content = router_files("reuters", route or Route(), backends)["rds.json"]["resources"][0]
    assert content["validate_clusters"] is True
    return {item["match"].get("path", "*"): item for item in reversed(content["virtual_hosts"][0]["routes"])}


def test_only_what_belongs_to_the_model_is_routed() -> None:
    infer = "/v2/models/reuters/infer"
    found = routes([STABLE])
    forwarded = {path for path, item in found.items() if "route" in item}
    assert forwarded == {infer, "/v2/models/reuters/ready", "/v2/health/ready", "/v2/models/reuters"}
    assert found["*"]["direct_response"]["status"] == 404


def test_a_revision_without_weight_is_known_and_gets_nothing() -> None:
    files = router_files("reuters", Route(), [STABLE, CANDIDATE])
    assert [item["name"] for item in files["cds.json"]["resources"]] == ["aaaaaaaa", "12345678"]
    weighted = routes([STABLE, CANDIDATE])["/v2/models/reuters/infer"]["route"]["weighted_clusters"]
    assert [(item["name"], item["weight"]) for item in weighted["clusters"]] == [("aaaaaaaa", 100)]


def test_two_servers_of_different_kinds_can_share_the_traffic() -> None:
    weighted = routes(BACKENDS["canary"])["/v2/models/reuters/infer"]["route"]["weighted_clusters"]["clusters"]
    assert [item["weight"] for item in weighted] == [90, 10]
    typed = [[header["header"]["value"] for header in item.get("request_headers_to_add", [])] for item in weighted]
    assert typed == [[], ["application/json"]]


def test_readiness_of_torchserve_is_asked_of_its_handler() -> None:
    action = routes(BACKENDS["torchserve"])["/v2/models/reuters/ready"]
    assert action["route"]["prefix_rewrite"] == "/predictions/reuters"
    assert action["request_headers_to_add"][0]["header"] == {"key": "x-kaon-request", "value": "ready"}


def test_a_client_cannot_ask_the_handler_itself() -> None:
    assert routes([STABLE])["/v2/models/reuters/infer"]["request_headers_to_remove"] == ["x-kaon-request"]


def test_limits_are_those_of_the_spec_and_change_no_listener() -> None:
    strict = Route(timeout_seconds=0.5, max_request_bytes=2048)
    assert routes([STABLE], strict)["/v2/models/reuters/infer"]["route"]["timeout"] == "0.5s"
    small = Route(max_request_bytes=65536)
    before, after = (router_files("reuters", route, [STABLE]) for route in (small, strict))
    assert before["lds.json"] == after["lds.json"] and before["bootstrap.json"] == after["bootstrap.json"]
    assert "2048" in json.dumps(after["rds.json"])


def test_a_version_changes_exactly_with_its_file() -> None:
    before, after = (router_files("reuters", Route(), backends) for backends in ([STABLE], [STABLE, CANDIDATE]))
    versions = {
        name: (before[name]["version_info"], after[name]["version_info"])
        for name in ("lds.json", "cds.json", "rds.json")
    }
    assert versions["lds.json"][0] == versions["lds.json"][1]
    assert versions["rds.json"][0] == versions["rds.json"][1]
    assert versions["cds.json"][0] != versions["cds.json"][1]


def test_every_file_is_watched_by_its_folder() -> None:
    files = router_files("reuters", Route(), [STABLE])
    text = json.dumps([files["bootstrap.json"], files["lds.json"]])
    assert text.count('"watched_directory": {"path": "/etc/kaon/router"}') == 3


def test_the_admin_interface_is_reached_from_inside_only() -> None:
    files = router_files("reuters", Route(), [STABLE])
    assert files["bootstrap.json"]["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    ops = files["lds.json"]["resources"][1]
    assert ops["address"]["socket_address"]["port_value"] == 9902
    hosts = ops["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    assert [item["match"]["path"] for item in hosts[0]["routes"]] == ["/stats/prometheus", "/ready"]


def test_no_timeout_is_so_short_that_envoy_reads_it_as_none() -> None:
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.001"):
        Route(timeout_seconds=0.0009)
    routes = router_files("m", Route(timeout_seconds=0.001), BACKENDS["one"])["rds.json"]["resources"][0]
    timeouts = [route["route"]["timeout"] for route in routes["virtual_hosts"][0]["routes"] if "route" in route]
    assert timeouts[0] == "0.001s"
    assert "0s" not in timeouts


def test_each_revision_with_traffic_gets_its_own_check_with_the_smallest_batch_of_them_all() -> None:
    lua = "envoy.filters.http.lua"
    backends = [
        Backend("aaaaaaaa", "triton", STABLE.host, 90, 8, TEXT_SIGNATURE),
        Backend("12345678", "torchserve", CANDIDATE.host, 10, 4, TABLE),
        Backend("87654321", "triton", STABLE.host, 0, 1, TEXT_SIGNATURE),
    ]
    content = router_files("reuters", Route(), backends)["rds.json"]["resources"][0]
    assert content["virtual_hosts"][0]["typed_per_filter_config"][lua]["disabled"] is True
    (infer,) = [item for item in routes(backends).values() if lua in str(item)]
    checks = {
        cluster["name"]: cluster["typed_per_filter_config"][lua]["filter_context"]["model"]
        for cluster in infer["route"]["weighted_clusters"]["clusters"]
    }
    text, table = checks["aaaaaaaa"], checks["12345678"]
    assert set(checks) == {"aaaaaaaa", "12345678"} and {item["maxBatchSize"] for item in checks.values()} == {4}
    assert (text["isTable"], text["inputs"], text["outputs"]) == (False, ["text"], ["label", "probabilities"])
    assert (table["isTable"], table["kinds"], table["outputs"]) == (True, ["FP64"], ["prediction"])


def test_the_limit_on_the_body_comes_before_the_check_that_reads_it() -> None:
    listener = router_files("reuters", Route(), [STABLE])["lds.json"]["resources"][0]
    filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    assert [item["name"].rpartition(".")[2] for item in filters] == ["buffer", "lua", "router"]
