"""Grafana's dashboard of the operator and of what models answer, as JSON: panels in rows, each a question with its
PromQL. Pure data.

Only what Grafana needs is written out; whatever is left away has Grafana's own default. Thresholds match the alerts in
kaon/files/rules.yaml.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

WIDTH = 24
HEIGHT = 8
MOST_SHARES = 50
CLASS_ANSWERS = "sum by (namespace, kaon_dev_owner, label) (increase(kaon_predictions_total[30m]))"
ANSWERS = "sum by (namespace, kaon_dev_owner) (increase(kaon_predictions_total[30m]))"
MODEL = "{{namespace}}/{{kaon_dev_owner}} {{label}}"


@dataclass(frozen=True)
class Panel:
    """One question. `queries` are (PromQL, legend)."""

    title: str
    queries: tuple[tuple[str, str], ...]
    about: str
    unit: str = "short"
    kind: str = "timeseries"


ROWS: tuple[tuple[Panel, ...], ...] = (
    (
        Panel("Leaders", (("sum(kaon_leader)", "leaders"),), "One, or nothing is reconciled.", kind="stat"),
        Panel(
            "Resources",
            (("max by (kind, phase) (kaon_resources)", "{{kind}} {{phase}}"),),
            "How many resources are in which phase.",
        ),
        Panel(
            "Failed resources",
            (('max by (kind) (kaon_resources{phase="Failed"}) or vector(0)', "{{kind}}"),),
            "The message of the condition Stalled names the cause and the way out.",
        ),
    ),
    (
        Panel(
            "Stages finished per hour",
            (
                (
                    "sum by (kind, outcome) (increase(kaon_stage_duration_seconds_count[1h]))",
                    "{{kind}} {{outcome}}",
                ),
            ),
            "Stages that ended, by outcome.",
        ),
        Panel(
            "Duration of stages, median",
            (
                (
                    "histogram_quantile(0.5, sum by (kind, le) (rate(kaon_stage_duration_seconds_bucket[6h])))",
                    "{{kind}}",
                ),
            ),
            "Over the last six hours.",
            unit="s",
        ),
        Panel(
            "Cost per hour",
            (("sum by (kind, resource) (increase(kaon_stage_cost_seconds_total[1h]))", "{{kind}} {{resource}}"),),
            "CPU and GPU seconds of the stages that ended.",
            unit="s",
        ),
    ),
    (
        Panel(
            "Reconciles per second",
            (("sum by (kind, outcome) (rate(kaon_reconcile_duration_seconds_count[5m]))", "{{kind}} {{outcome}}"),),
            "How busy the operator is, and how it ends.",
            unit="ops",
        ),
        Panel(
            "Reconcile time, p99",
            (
                (
                    "histogram_quantile(0.99, sum by (kind, le) (rate(kaon_reconcile_duration_seconds_bucket[5m])))",
                    "{{kind}}",
                ),
            ),
            "API writes included.",
            unit="s",
        ),
        Panel(
            "Queue",
            (("max(kaon_queue_depth)", "depth"), ("max(kaon_queue_oldest_seconds)", "oldest, seconds")),
            "More than 120 s for five minutes raises KaonQueueOld.",
        ),
    ),
    (
        Panel(
            "API writes per second",
            (("sum by (kind, verb) (rate(kaon_api_writes_total[5m]))", "{{verb}} {{kind}}"),),
            "Nothing changes, nothing is written: this is flat at zero when all is done.",
            unit="ops",
        ),
        Panel(
            "Refused API writes per second",
            (('sum by (kind, code) (rate(kaon_api_writes_total{code!~"2.."}[5m])) or vector(0)', "{{kind}} {{code}}"),),
            "403: a permission is missing. 422: the API server does not like the object.",
            unit="ops",
        ),
        Panel(
            "Watch restarts per hour",
            (("sum by (kind) (increase(kaon_watch_restarts_total[1h]))", "{{kind}}"),),
            "A few are normal.",
        ),
    ),
    (
        Panel(
            "Shares of classes",
            ((f"topk({MOST_SHARES}, {CLASS_ANSWERS} / on (namespace, kaon_dev_owner) group_left {ANSWERS})", MODEL),),
            f"Of the answers of the last half hour, by model: the {MOST_SHARES} largest shares. "
            "monitoring.alerts.classShare of a ModelDeployment sets limits for them.",
            unit="percentunit",
        ),
        Panel(
            "Answers per second",
            (
                (
                    "sum by (namespace, kaon_dev_owner) (rate(kaon_predictions_total[5m]))",
                    "{{namespace}}/{{kaon_dev_owner}}",
                ),
            ),
            "Texts or rows that models with classes have answered.",
            unit="ops",
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard in Grafana's model."""
    panels = [
        _panel(panel, number=row * WIDTH + place, x=place * (WIDTH // len(line)), y=row * HEIGHT, w=WIDTH // len(line))
        for row, line in enumerate(ROWS)
        for place, panel in enumerate(line)
    ]
    return {
        "uid": "kaon-operator",
        "title": "Kaon",
        "tags": ["kaon"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": panels,
    }


def _panel(panel: Panel, *, number: int, x: int, y: int, w: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": source,
        "gridPos": {"x": x, "y": y, "w": w, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": "ABCDEF"[place], "datasource": source, "expr": expr, "legendFormat": legend}
            for place, (expr, legend) in enumerate(panel.queries)
        ],
    }


def text() -> str:
    """The file as Grafana imports it."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
