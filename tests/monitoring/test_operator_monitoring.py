"""The operator's alerts and dashboard: checked by Prometheus' own tool, and against the operator's own metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from kaon.engine import metrics
from kaon.engine.metrics import Resources, WatchUp

HERE = Path(__file__).parent
FILES = HERE.parents[1] / "charts" / "kaon" / "files"
RULES = yaml.safe_load((FILES / "rules.yaml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS = json.loads((FILES / "dashboard.json").read_text())["panels"]
EXPRESSIONS = [rule["expr"] for rule in ALERTS] + [target["expr"] for panel in PANELS for target in panel["targets"]]


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


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    tests = yaml.safe_load((HERE / "operator_alerts.test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_use_metrics_and_labels_that_exist(expression: str) -> None:
    known = samples()
    names = re.findall(r"\bkaon_\w+", expression)
    assert names
    for name in names:
        assert name in known, f"{name} is no metric of the operator"
    labels = set(re.findall(r"by \(([^)]*)\)", expression)) | set(re.findall(r"(\w+)[=!]~?\"", expression))
    for label in {part.strip() for group in labels for part in group.split(",")}:
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
