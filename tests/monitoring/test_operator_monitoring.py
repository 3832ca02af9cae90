"""The operator's alerts and dashboard: checked by Prometheus' own tool, and against the operator's own metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from kaon.contract.answers import COUNTER
from kaon.engine import metrics
from kaon.engine.metrics import Resources, WatchUp
from kaon.resources.monitoring_podmonitor import pod_monitor

HERE = Path(__file__).parent
FILES = HERE.parents[1] / "charts" / "kaon" / "files"
RULES = yaml.safe_load((FILES / "rules.yaml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS = json.loads((FILES / "dashboard.json").read_text())["panels"]
EXPRESSIONS = [rule["expr"] for rule in ALERTS] + [target["expr"] for panel in PANELS for target in panel["targets"]]
POD_MONITOR = pod_monitor({"kind": "ModelDeployment", "metadata": {"name": "m", "namespace": "n", "uid": "u"}}, "d")


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if not found:
        pytest.fail("promtool is missing: apt-get install prometheus (Debian), or a release of Prometheus, on PATH")
    return found


def samples() -> dict[str, set[str]]:
    """Every sample name of the operator's registry with its labels."""
    families = [
        *metrics.REGISTRY.collect(),
        *Resources(lambda: {("Dataset", "Failed"): 1}).collect(),
        *WatchUp(lambda: {"Dataset": True}).collect(),
    ]
    found: dict[str, set[str]] = {}
    for collector in list(metrics.REGISTRY._collector_to_names):
        # A metric with labels has no samples before its first use; its names and labels are known all the same.
        labels = set(getattr(collector, "_labelnames", ()))
        for name in metrics.REGISTRY._collector_to_names[collector]:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    # Of the servers, with what their PodMonitor takes over from the pods, and Prometheus knows of each.
    scraped = {re.sub(r"\W", "_", name) for name in POD_MONITOR["spec"]["podTargetLabels"]}
    found[COUNTER] = {"model", "label", "namespace", "pod", *scraped}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_promtool_takes_the_rules(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "rules", FILES / "rules.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_each_alert_fires_when_it_should_and_not_before(promtool: str, tmp_path: Path) -> None:
    for file in (FILES / "rules.yaml", HERE / "operator_alerts.test.yaml"):
        shutil.copy(file, tmp_path)
    command = [promtool, "test", "rules", "operator_alerts.test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_panel_of_shares_adds_up_for_each_model(promtool: str, tmp_path: Path) -> None:
    (panel,) = [panel for panel in PANELS if panel["title"] == "Shares of classes"]
    counts = {
        ("films", "rotten", "p-0"): 6,
        ("films", "rotten", "p-1"): 3,
        ("films", "fresh", "p-1"): 3,
        ("news", "earn", "p-2"): 5,
        ("news", "acq", "p-2"): 0,
    }
    series = [
        {
            "series": f'{COUNTER}{{namespace="ml",kaon_dev_owner="{model}",label="{label}",pod="{pod}"}}',
            "values": f"0+{step}x240",
        }
        for (model, label, pod), step in counts.items()
    ]
    shares = {("films", "rotten"): 0.75, ("films", "fresh"): 0.25, ("news", "earn"): 1, ("news", "acq"): 0}
    expected = [
        {"labels": f'{{namespace="ml",kaon_dev_owner="{model}",label="{label}"}}', "value": share}
        for (model, label), share in shares.items()
    ]
    asked = {"expr": panel["targets"][0]["expr"], "eval_time": "60m", "exp_samples": expected}
    tests = [{"interval": "15s", "input_series": series, "promql_expr_test": [asked]}]
    (tmp_path / "panel.test.yaml").write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": tests}))
    command = [promtool, "test", "rules", "panel.test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    tests = yaml.safe_load((HERE / "operator_alerts.test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_use_metrics_and_labels_that_exist(expression: str) -> None:
    known = samples()
    groups = set(re.findall(r"(?:by|on) \(([^)]*)\)", expression)) | set(re.findall(r"(\w+)[=!]~?\"", expression))
    labels = {part.strip() for group in groups for part in group.split(",")}
    names = set(re.findall(r"\bkaon_\w+", expression)) - labels
    assert names
    for name in names:
        assert name in known, f"{name} is no metric of the operator or of a server"
    for label in labels:
        assert any(label in known[name] for name in names), f"{label} is no label of {names}"


def test_every_alert_tells_a_person_what_to_do() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_do_not_overlap_and_each_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["description"]
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
