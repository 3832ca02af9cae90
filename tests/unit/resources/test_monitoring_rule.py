"""The alerts of a model: taken by Prometheus' own tool, and true when they should be."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaon.api.modeldeployment import ModelDeploymentSpec, Revision
from kaon.controllers.base import Object
from kaon.resources.monitoring_rule import prometheus_rule

OBJ: Object = {"kind": "ModelDeployment", "metadata": {"name": "reuters", "namespace": "ml", "uid": "u"}}
REF: Object = {"kind": "CompressionJob", "name": "small"}
ROUTER = 'namespace="ml",kaon_dev_owner="reuters",app_kubernetes_io_component="router"'
SERVER = 'namespace="ml",kaon_dev_owner="reuters",app_kubernetes_io_component="server"'


def rule(p99: float | None = 25.0, server: Any = "triton", **spec: Any) -> Object | None:
    revision = Revision.model_validate(
        {
            "revision": "aaaaaaaa",
            "modelRef": REF,
            "server": server,
            "threads": 2,
            "batching": {},
            "artifactUri": "s3://kaon/a",
            "artifactDigest": "sha256:" + "a" * 64,
            "latencyP99Ms": p99,
            "since": "2026-01-01T00:00:00Z",
            "weight": 100,
        }
    )
    parsed = ModelDeploymentSpec.model_validate({"modelRef": REF, **spec})
    return prometheus_rule(OBJ, parsed, revision, revision.artifact_digest)


def alerts(**given: Any) -> dict[str, Object]:
    found = rule(**given)
    assert found is not None
    return {item["alert"]: item for item in found["spec"]["groups"][0]["rules"]}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.fail("promtool is missing: apt-get install prometheus (Debian), or a release of Prometheus, on PATH")
    return found


@pytest.mark.parametrize("server", ["triton", "torchserve"])
def test_promtool_takes_the_rules(promtool: str, tmp_path: Path, server: str) -> None:
    found = rule(server=server)
    assert found is not None
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(found["spec"]))
    done = subprocess.run([promtool, "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("p99", "declared", "bound"),
    [(25.0, None, "> 250"), (2.0, None, "> 100"), (None, None, "> 100"), (25.0, 40.0, "> 40"), (1e9, None, "> 60000")],
)
def test_the_latency_bound_comes_from_the_evaluation_unless_it_is_declared(
    p99: float | None, declared: float | None, bound: str
) -> None:
    monitoring = {"alerts": {"maxLatencyMs": declared}} if declared else {}
    assert alerts(p99=p99, monitoring=monitoring)["KaonModelSlow"]["expr"].endswith(bound)


def test_the_servers_own_failures_are_watched_where_the_server_counts_them() -> None:
    assert "KaonModelInferenceFailures" in alerts(server="triton")
    assert "KaonModelInferenceFailures" not in alerts(server="torchserve")


def test_every_alert_says_what_to_do() -> None:
    for item in alerts().values():
        assert set(item["annotations"]) == {"summary", "description", "runbook"}
        assert "kubectl" in item["annotations"]["runbook"] or "PodMonitor" in item["annotations"]["runbook"]


def test_a_model_scaled_to_nothing_has_no_alerts() -> None:
    assert rule(replicas=0) is None


CLUSTER = f'{ROUTER},envoy_cluster_name="aaaaaaaa"'
WHOLE = [
    (f'envoy_cluster_upstream_rq_xx{{{CLUSTER},envoy_response_code_class="2"}}', "0+60x60"),
    (f"envoy_cluster_upstream_rq_total{{{CLUSTER}}}", "0+60x60"),
    (f"envoy_cluster_upstream_rq_timeout{{{CLUSTER}}}", "0x60"),
    (f'envoy_cluster_upstream_rq_time_bucket{{{CLUSTER},le="10"}}', "0+60x60"),
    (f'envoy_cluster_upstream_rq_time_bucket{{{CLUSTER},le="500"}}', "0+60x60"),
    (f'envoy_cluster_upstream_rq_time_bucket{{{CLUSTER},le="+Inf"}}', "0+60x60"),
    (f"envoy_cluster_membership_healthy{{{CLUSTER}}}", "1x60"),
    (f'nv_inference_request_success{{{SERVER},model="reuters"}}', "0+60x60"),
    (f'nv_inference_request_failure{{{SERVER},model="reuters",reason="BACKEND"}}', "0x60"),
    (f'nv_inference_request_failure{{{SERVER},model="reuters",reason="CANCELED"}}', "0+60x60"),
]
BROKEN = {
    "KaonModelErrors": ("upstream_rq_xx", ('"2"', '"5"'), "0+60x60"),
    "KaonModelTimeouts": ("upstream_rq_timeout", None, "0+6x60"),
    "KaonModelSlow": ('le="10"', None, "0x60"),
    "KaonModelUnavailable": ("membership_healthy", None, "0x60"),
    "KaonModelMetricsMissing": ("request_success", None, "_x60"),
    "KaonModelInferenceFailures": ('"BACKEND"', None, "0+6x60"),
}


@pytest.mark.parametrize("broken", [None, *BROKEN])
def test_an_alert_is_true_exactly_when_its_own_trouble_is_there(
    promtool: str, tmp_path: Path, broken: str | None
) -> None:
    series = list(WHOLE)
    if broken is not None:
        part, renamed, values = BROKEN[broken]
        changed = [(name.replace(*renamed) if renamed else name, values) for name, _ in series if part in name]
        series = [(name, value) for name, value in series if part not in name] + changed
    found = rule()
    assert found is not None
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(found["spec"]))
    expected = [
        {
            "exp_labels": {"severity": item["labels"]["severity"], "namespace": "ml", "model": "reuters"},
            "exp_annotations": item["annotations"],
        }
        for name, item in alerts().items()
        if name == broken
    ]
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": value} for name, value in series],
                "alert_rule_test": [
                    {"eval_time": "50m", "alertname": name, "exp_alerts": expected if name == broken else []}
                    for name in alerts()
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    done = subprocess.run([promtool, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# -- the share of a class ------------------------------------------------------------------------------------------

SHARE: Object = {"class": "rotten", "above": 0.4, "windowSeconds": 1800, "forSeconds": 600}
ODD = 'a "quote" \\ {{ $value }} 汉, 5 %'
ODD_LABEL = ODD.replace(",", "%2C").replace("5 %", "5 %25")


def shares(*found: Object) -> Object:
    return {"alerts": {"classShare": list(found)}}


def predictions(label: str, revision: str = "aaaaaaaa", pod: str = "p-0") -> str:
    escaped = label.replace("\\", "\\\\").replace('"', '\\"')
    target = f'{SERVER},kaon_dev_revision="{revision}",pod="{pod}"'
    return f'kaon_predictions_total{{{target},model="reuters",label="{escaped}"}}'


def promtool_test(promtool: str, folder: Path, series: Object, minute: int, expected: Object, **spec: Any) -> None:
    """Fails unless exactly the expected alerts (name -> annotations and labels) of the shares of classes are raised."""
    found = rule(**spec)
    assert found is not None
    (folder / "rules.yaml").write_text(yaml.safe_dump(found["spec"]))
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {
                        "eval_time": f"{minute}m",
                        "alertname": name,
                        "exp_alerts": [expected[name]] if name in expected else [],
                    }
                    for name in alerts(**spec)
                    if "ClassShare" in name
                ],
            }
        ],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(test, allow_unicode=True))
    done = subprocess.run([promtool, "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def raised(share: str, name: str = "rotten", **given: Any) -> Object:
    """The alert as it is raised with this share."""
    which = given.pop("which")
    item = alerts(**given)[which]
    annotations = {
        key: text.replace("{{ $value | humanizePercentage }}", share, 1).replace('{{ "{{" }}', "{{")
        for key, text in item["annotations"].items()
    }
    labels = {"severity": "warning", "namespace": "ml", "model": "reuters", "class": name}
    return {which: {"exp_labels": labels, "exp_annotations": annotations}}


HIGH, LOW = "KaonModelClassShareHigh", "KaonModelClassShareLow"


@pytest.mark.parametrize(
    ("rotten", "fresh", "minute", "share"),
    [
        # Each step is 15 seconds.
        pytest.param("0+6x400", "0+4x400", 60, "60%", id="above the limit"),
        pytest.param("0+6x400", "0+4x400", 9, None, id="not for long enough"),
        pytest.param("0+4x400", "0+6x400", 60, None, id="at the limit"),
        pytest.param("0+6x2 12x400", "0+4x2 8x400", 15, None, id="too few answers"),
        pytest.param("0x400", "0x400", 60, None, id="nothing was asked"),
        pytest.param("0+4x160 640+9x200", "0+6x160 960+1x200", 75, "90%", id="since half an hour"),
    ],
)
def test_a_share_above_the_limit_is_told_with_its_figure(
    promtool: str, tmp_path: Path, rotten: str, fresh: str, minute: int, share: str | None
) -> None:
    spec = {"monitoring": shares(SHARE)}
    expected = raised(share, which=HIGH, **spec) if share else {}
    series = {predictions("rotten"): rotten, predictions("fresh"): fresh}
    promtool_test(promtool, tmp_path, series, minute, expected, **spec)


def test_replicas_of_both_revisions_count_together(promtool: str, tmp_path: Path) -> None:
    spec = {"monitoring": shares(SHARE), "server": "torchserve"}
    series = {
        predictions("rotten", "aaaaaaaa", "p-0"): "0+1x400",
        predictions("fresh", "aaaaaaaa", "p-0"): "0+3x400",
        predictions("rotten", "bbbbbbbb", "p-1"): "0+5x400",
        predictions("fresh", "bbbbbbbb", "p-1"): "0+1x400",
        # Of another model.
        predictions("fresh").replace("reuters", "other"): "0+900x400",
    }
    promtool_test(promtool, tmp_path, series, 60, raised("60%", which=HIGH, **spec), **spec)


@pytest.mark.parametrize(("rotten", "share"), [("0x400", "0%"), ("0+1x400", None)])
def test_a_share_below_the_limit_is_told_even_of_a_class_that_was_never_answered(
    promtool: str, tmp_path: Path, rotten: str, share: str | None
) -> None:
    spec = {"monitoring": shares({"class": "rotten", "below": 0.1, "above": 0.9})}
    series = {predictions("rotten"): rotten, predictions("fresh"): "0+4x400"}
    expected = raised(share, which=LOW, **spec) if share else {}
    promtool_test(promtool, tmp_path, series, 60, expected, **spec)


def test_a_class_that_no_server_tells_raises_no_alert(promtool: str, tmp_path: Path) -> None:
    spec = {"monitoring": shares({"class": "unheard", "below": 0.1})}
    promtool_test(promtool, tmp_path, {predictions("fresh"): "0+4x400"}, 60, {}, **spec)


def test_the_name_of_a_class_is_no_template_and_no_promql(promtool: str, tmp_path: Path) -> None:
    spec = {"monitoring": shares({**SHARE, "class": ODD})}
    series = {predictions(ODD_LABEL): "0+6x400", predictions("fresh"): "0+4x400"}
    promtool_test(promtool, tmp_path, series, 60, raised("60%", ODD, which=HIGH, **spec), **spec)


def test_the_text_of_an_alert_has_figure_limit_time_and_what_to_look_at() -> None:
    told = alerts(monitoring=shares({**SHARE, "forSeconds": 90}))[HIGH]["annotations"]
    assert told["summary"] == "ModelDeployment ml/reuters: many answers are 'rotten'"
    assert told["description"] == (
        "{{ $value | humanizePercentage }} of the answers of the last 30 minutes are 'rotten', more than 40%, and have "
        "been for 90 seconds."
    )
    assert "spec.monitoring.alerts.classShare" in told["runbook"]
