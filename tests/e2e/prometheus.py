"""A real Prometheus beside the cluster, told what to scrape by the cluster's own PodMonitor and ServiceMonitor objects.

It does with them what the Prometheus operator does: selectors and ports become relabellings, podTargetLabels become
labels. Runs on the host, which reaches the pods' addresses.
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
from kube import Object

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


def scrape_configs(monitor: Object, kubeconfig: Path) -> list[Object]:
    """One scrape configuration for each endpoint of a PodMonitor or ServiceMonitor."""
    meta, spec = monitor["metadata"], monitor["spec"]
    pods = monitor["kind"] == "PodMonitor"
    where = "pod" if pods else "service"
    port = "__meta_kubernetes_pod_container_port_name" if pods else "__meta_kubernetes_endpoint_port_name"
    configs = []
    for number, endpoint in enumerate(spec["podMetricsEndpoints" if pods else "endpoints"]):
        relabel: list[Object] = [
            {
                "source_labels": [f"__meta_kubernetes_{where}_label_{_label(name)}"],
                "regex": re.escape(value),
                "action": "keep",
            }
            for name, value in spec["selector"]["matchLabels"].items()
        ]
        relabel.append({"source_labels": [port], "regex": endpoint["port"], "action": "keep"})
        relabel += [
            {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}
            for source, target in (("namespace", "namespace"), ("pod_name", "pod"))
        ]
        relabel += [
            {"source_labels": [f"__meta_kubernetes_pod_label_{_label(name)}"], "target_label": _label(name)}
            for name in spec.get("podTargetLabels", [])
        ]
        relabel.append({"target_label": "job", "replacement": f"{meta['namespace']}/{meta['name']}"})
        discovery = {
            "role": "pod" if pods else "endpoints",
            "kubeconfig_file": str(kubeconfig),
            "namespaces": {"names": [meta["namespace"]]},
        }
        configs.append(
            {
                "job_name": f"{monitor['kind']}/{meta['namespace']}/{meta['name']}/{number}",
                "metrics_path": endpoint.get("path", "/metrics"),
                "scrape_interval": "2s",
                "kubernetes_sd_configs": [discovery],
                "relabel_configs": relabel,
            }
        )
    return configs


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
