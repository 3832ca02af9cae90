"""A real Prometheus beside the cluster, told what to scrape by the cluster's own PodMonitor and ServiceMonitor objects.

It does with them what the Prometheus operator does: selectors and ports become targets, podTargetLabels become labels.
Runs on the host, which reaches the pods' addresses.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from installation import get_json
from kube import Kube, Object

# The kinds, open: the test reads the objects and Prometheus itself judges what they say.
KINDS = {"PodMonitor": "podmonitors", "ServiceMonitor": "servicemonitors", "PrometheusRule": "prometheusrules"}


def definitions() -> list[Object]:
    """CustomResourceDefinitions of the Prometheus operator's kinds, without a schema of their own."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.monitoring.coreos.com"},
            "spec": {
                "group": "monitoring.coreos.com",
                "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
                "scope": "Namespaced",
                "versions": [
                    {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
                ],
            },
        }
        for kind, plural in KINDS.items()
    ]


def scrape_configs(kube: Kube, monitor: Object) -> list[Object]:
    """One scrape configuration for each endpoint of a PodMonitor or ServiceMonitor, with the pods that it selects now.

    The targets are written out: Debian's Prometheus is built without the discovery of Kubernetes.
    """
    meta, spec = monitor["metadata"], monitor["spec"]
    selector = ",".join(f"{name}={value}" for name, value in spec["selector"]["matchLabels"].items())
    if monitor["kind"] == "PodMonitor":
        endpoints, pods = spec["podMetricsEndpoints"], kube.list("pods", meta["namespace"], selector)
    else:
        (service,) = kube.list("services", meta["namespace"], selector)
        chosen = ",".join(f"{name}={value}" for name, value in service["spec"]["selector"].items())
        endpoints, pods = spec["endpoints"], kube.list("pods", meta["namespace"], chosen)
    configs = []
    for number, endpoint in enumerate(endpoints):
        targets = [
            {"targets": [f"{pod['status']['podIP']}:{port}"], "labels": _target_labels(monitor, pod)}
            for pod in pods
            for port in _ports(pod, endpoint["port"])
        ]
        configs.append(
            {
                "job_name": f"{monitor['kind']}/{meta['namespace']}/{meta['name']}/{number}",
                "metrics_path": endpoint.get("path", "/metrics"),
                "scrape_interval": "2s",
                "static_configs": targets,
            }
        )
    return configs


def _ports(pod: Object, name: str) -> list[int]:
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
    return [port["containerPort"] for port in ports if port["name"] == name and pod["status"]["phase"] == "Running"]


def _target_labels(monitor: Object, pod: Object) -> dict[str, str]:
    meta = monitor["metadata"]
    wanted = monitor["spec"].get("podTargetLabels", [])
    own = {_label(name): pod["metadata"]["labels"][name] for name in wanted if name in pod["metadata"]["labels"]}
    job = f"{meta['namespace']}/{meta['name']}"
    return {"job": job, "namespace": meta["namespace"], "pod": pod["metadata"]["name"], **own}


def _label(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


class Prometheus:
    """A running Prometheus."""

    def __init__(self, folder: Path, configs: list[Object], rules: list[Object]) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.fail("prometheus is missing: apt-get install prometheus (Debian), or a release of it, on PATH")
        files = []
        for number, rule in enumerate(rules):
            file = folder / f"rules-{number}.yaml"
            file.write_text(json.dumps(rule["spec"]))
            files.append(str(file))
        # JSON is YAML.
        settings = {"global": {"evaluation_interval": "2s"}, "scrape_configs": configs, "rule_files": files}
        (folder / "prometheus.yaml").write_text(json.dumps(settings))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

    def query(self, expression: str) -> list[Any]:
        """The samples that an expression gives now."""
        answer = get_json(f"{self.url}/api/v1/query?query={urllib.parse.quote(expression)}")
        result = answer["data"]["result"]
        return result if isinstance(result, list) else [result]

    def until_up(self, jobs: int, timeout: float = 60) -> dict[str, list[str]]:
        """Waits until that many jobs have targets and all targets are up. Returns health by job."""
        end = time.monotonic() + timeout
        found: dict[str, list[str]] = {}
        while time.monotonic() < end:
            time.sleep(1)
            try:
                targets = get_json(f"{self.url}/api/v1/targets?state=active")["data"]["activeTargets"]
            except OSError:
                continue
            found = {}
            for target in targets:
                found.setdefault(target["scrapePool"], []).append(f"{target['health']} {target['lastError']}".strip())
            if len(found) >= jobs and all(item == "up" for health in found.values() for item in health):
                return found
        raise AssertionError(f"targets are not all up: {found}")
