"""A real Prometheus scrapes operator, router and server; every alert and every panel has data there."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from installation import SYSTEM, Installation, get_json
from kube import Object
from pipelines import compression, dataset, deployment, training
from prometheus import Prometheus, definitions, scrape_configs
from serving import bodies, run, servers

from kaon.api.modeldeployment import ClassShare
from kaon.api.signature import TEXT_SIGNATURE
from kaon.resources.monitoring_queries import alerts, router_series
from kaon_jobs.runtime import v2

NAMESPACE = "e2e-monitoring"
SERVERS = ("triton", "torchserve")
# A text of a megabyte keeps a server busy for seconds, and a busy machine for longer than the default timeout.
SHARES = [{"class": "bird", "above": 0.99}]
ROUTE = {"maxRequestBytes": 65536, "timeoutSeconds": 60}


@pytest.fixture(scope="module")
def served(kaon: Installation) -> dict[str, Object]:
    """One model on each server, with requests, monitored by objects that the operator made."""
    kaon.kube.apply(definitions())
    kaon.install(monitoring=True)
    kaon.kube.apply([dataset(), training(), compression()], namespace=NAMESPACE)
    monitoring = {"alerts": {"classShare": SHARES}}
    kaon.kube.apply(
        [deployment(server, server=server, route=ROUTE, monitoring=monitoring) for server in SERVERS],
        namespace=NAMESPACE,
    )
    found = {
        server: kaon.kube.until_ready("modeldeployment", server, NAMESPACE, timeout=300)["status"] for server in SERVERS
    }
    # Stages that end under the present operator: its counters begin with its process.
    kaon.kube.apply([dataset("counted", rerun="counted")], namespace=NAMESPACE)
    kaon.kube.until_ready("dataset", "counted", NAMESPACE, timeout=120)
    for server in SERVERS:
        kaon.kube.until("podmonitor", server, NAMESPACE, lambda obj: True, timeout=60)
        kaon.kube.until("prometheusrule", server, NAMESPACE, lambda obj: True, timeout=60)
    return found


@pytest.fixture(scope="module")
def prometheus(
    kaon: Installation, served: dict[str, Object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    monitors = [*kaon.kube.list("podmonitors", NAMESPACE), *kaon.kube.list("servicemonitors", SYSTEM)]
    rules = [*kaon.kube.list("prometheusrules", NAMESPACE), *kaon.kube.list("prometheusrules", SYSTEM)]
    configs = [config for monitor in monitors for config in scrape_configs(kaon.kube, monitor)]
    running = Prometheus(tmp_path_factory.mktemp("prometheus"), configs, rules)
    try:
        running.until_up(jobs=2 * len(SERVERS) + 1)
        for _ in range(8):
            for server in SERVERS:
                kaon.ask(server, NAMESPACE, ["wing feather nest", "fin scale gill"])
            time.sleep(2)
        yield running
    finally:
        running.stop()


def test_operator_routers_and_servers_are_scraped(prometheus: Prometheus) -> None:
    assert sorted(item["metric"]["job"] for item in prometheus.query("up == 1")) == sorted(
        [f"{SYSTEM}/kaon-operator", *(f"{NAMESPACE}/{server}" for server in SERVERS for _ in range(2))]
    )


@pytest.mark.parametrize("server", SERVERS)
def test_every_signal_of_a_models_alerts_has_data(
    prometheus: Prometheus, served: dict[str, Object], server: str
) -> None:
    revision = served[server]["stable"]["revision"]
    found = alerts(
        NAMESPACE,
        server,
        revision=revision,
        server=server,
        max_error_ratio=0.01,
        max_latency_ms=100,
        class_shares=[ClassShare.model_validate(share) for share in SHARES],
    )
    assert "KaonModelClassShareHigh" in [alert.name for alert in found]
    empty = [alert.name for alert in found if not prometheus.query(alert.signal)]
    assert empty == []


def test_wrong_requests_are_refused_alike_by_both_and_move_no_alert(
    prometheus: Prometheus, served: dict[str, Object], kaon: Installation
) -> None:
    targets = {server: run.Target(kaon.address(server, NAMESPACE), 80, server) for server in SERVERS}

    @functools.cache
    def answered(text: str) -> dict[str, list[Any]]:
        # A connection of its own: several threads ask.
        client = run.Client(targets["triton"])
        answer = client.send(bodies.Request("one", json.dumps(servers.request([text])).encode()))
        client.close()
        assert answer.status == 200, answer.content
        return {item["name"]: item["data"] for item in answer.content["outputs"]}

    def predict(rows: list[Any]) -> dict[str, list[Any]]:
        each = [answered(text) for text in rows]
        return {name: [value for answer in each for value in answer[name]] for name in ("label", "probabilities")}

    # The scale of dynamic quantization is that of a batch: alone and among others a text gets other last digits.
    signature = v2.Signature(**TEXT_SIGNATURE.wire())
    expected = run.Expected(predict, 8, signature, bodies.beside(TEXT_SIGNATURE), tolerance=0.1)
    before = {server: failures(prometheus, server) for server in SERVERS}
    requests = [bodies.make(16, index, max_batch_size=8, max_bytes=ROUTE["maxRequestBytes"]) for index in range(300)]
    report = run.against(targets, requests, expected)
    assert report.wrong == [], str(report)
    assert all(report.good[server] > 50 for server in SERVERS)
    time.sleep(10)  # two scrapes, and Envoy's own flush
    assert {server: failures(prometheus, server) for server in SERVERS} == before
    for server in SERVERS:
        series = f'{router_series(NAMESPACE, server)},envoy_http_conn_manager_prefix="traffic"'
        refused = f'sum(envoy_http_downstream_rq_xx{{{series},envoy_response_code_class="4"}})'
        assert float(prometheus.query(refused)[0]["value"][1]) > 100


def failures(prometheus: Prometheus, server: str) -> float:
    """Requests that the router counts as failed by the server since it started."""
    series = f'{router_series(NAMESPACE, server)},envoy_cluster_name!="admin",envoy_response_code_class="5"'
    return float(prometheus.query(f"sum(envoy_cluster_upstream_rq_xx{{{series}}}) or vector(0)")[0]["value"][1])


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus, kaon: Installation) -> None:
    groups = get_json(f"{prometheus.url}/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    declared = yaml.safe_load((kaon.root / "charts/kaon/files/rules.yaml").read_text())
    assert len(rules) >= len(declared["groups"][0]["rules"]) + 13
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    # Other tests of this installation let stages fail, and that alert is right about them.
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing <= {"KaonStagesFailed"}


def panels() -> list[str]:
    board = json.loads((Path(__file__).parents[2] / "charts/kaon/files/dashboard.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


@pytest.mark.parametrize("expression", panels())
def test_every_panel_of_the_dashboard_has_data(prometheus: Prometheus, expression: str) -> None:
    assert prometheus.query(expression), expression
