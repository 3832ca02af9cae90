"""The PromQL of a model's alerts. Pure; the one place where it stands, so that a test can run each on real data.

A signal is an expression that has a value whenever the model is scraped; an alert compares it with a bound. Labels of
targets are those of the PodMonitor: the pods' own, with `.`, `/` and `-` as `_`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kaon.api.modeldeployment import ClassShare
from kaon.contract.answers import COUNTER, series_label
from kaon.resources.router_config import LATENCY_BUCKETS_MS

WINDOW = "5m"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: a signal, what is wrong with it, for how long, and what to do."""

    name: str
    signal: str
    condition: str
    """Follows the signal; `{signal}` stands for it where it is an argument."""
    hold: str
    severity: str
    summary: str
    description: str
    runbook: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Beside those that every alert of a model has."""

    @property
    def expression(self) -> str:
        """The alert's expression: it gives data exactly while the alert is true."""
        if "{signal}" in self.condition:
            return self.condition.replace("{signal}", self.signal)
        return f"{self.signal} {self.condition}"


def router_series(namespace: str, model: str) -> str:
    """Selects the series of a model's routers."""
    return f'namespace="{namespace}",kaon_dev_owner="{model}",app_kubernetes_io_component="router"'


def server_series(namespace: str, model: str) -> str:
    """Selects the series of a model's servers."""
    return f'namespace="{namespace}",kaon_dev_owner="{model}",app_kubernetes_io_component="server"'


def error_ratio(namespace: str, model: str) -> str:
    """Share of requests that the router answered with 5xx: timeouts (504) and no ready pod (503) included."""
    series = f'{router_series(namespace, model)},envoy_cluster_name!="admin"'
    failed = f'sum(rate(envoy_cluster_upstream_rq_xx{{{series},envoy_response_code_class="5"}}[{WINDOW}]))'
    return f"(({failed} or vector(0)) / sum(rate(envoy_cluster_upstream_rq_xx{{{series}}}[{WINDOW}])))"


def latency_p99_ms(namespace: str, model: str) -> str:
    """p99 in milliseconds of the requests that were answered. Timeouts are not among them: see timeout_ratio."""
    series = f'{router_series(namespace, model)},envoy_cluster_name!="admin"'
    buckets = f"sum by (le) (rate(envoy_cluster_upstream_rq_time_bucket{{{series}}}[{WINDOW}]))"
    return f"histogram_quantile(0.99, {buckets})"


def timeout_ratio(namespace: str, model: str) -> str:
    """Share of requests that got no answer in time."""
    series = f'{router_series(namespace, model)},envoy_cluster_name!="admin"'
    late = f"sum(rate(envoy_cluster_upstream_rq_timeout{{{series}}}[{WINDOW}]))"
    return f"({late} / sum(rate(envoy_cluster_upstream_rq_total{{{series}}}[{WINDOW}])))"


def ready_servers(namespace: str, model: str, revision: str) -> str:
    """Pods of the serving revision that the best informed router knows and has not ejected."""
    series = f'{router_series(namespace, model)},envoy_cluster_name="{revision}"'
    return f"max(envoy_cluster_membership_healthy{{{series}}})"


def served_requests(namespace: str, model: str, server: str) -> str:
    """The server's own count of requests. It exists from the first recorded answer on, before a pod is ready."""
    series = server_series(namespace, model)
    if server == "triton":
        return f'sum(nv_inference_request_success{{{series},model="{model}"}})'
    return f'sum(ts_inference_requests_total{{{series},model_name="{model}"}})'


def triton_failure_ratio(namespace: str, model: str) -> str:
    """Share of inferences that failed in the server. Cancelled ones are the client's own doing."""
    series = f'{server_series(namespace, model)},model="{model}"'
    failed = f'sum(rate(nv_inference_request_failure{{{series},reason!="CANCELED"}}[{WINDOW}]))'
    return f"({failed} / (sum(rate(nv_inference_request_success{{{series}}}[{WINDOW}])) + {failed}))"


def answers(namespace: str, model: str, window: str, name: str | None = None) -> str:
    """How many texts or rows were answered in the window, by all replicas and revisions: all, or those with a class."""
    series = server_series(namespace, model)
    if name is not None:
        series += f",label={_quoted(series_label(name))}"
    return f"sum(increase({COUNTER}{{{series}}}[{window}]))"


def class_share(namespace: str, model: str, share: ClassShare) -> str:
    """The share of the answers that have a class. Servers tell a class that they never answered as 0."""
    window = f"{share.window_seconds}s"
    return f"({answers(namespace, model, window, share.name)} / {answers(namespace, model, window)})"


def class_share_alerts(namespace: str, model: str, share: ClassShare) -> list[Alert]:
    """An alert for each limit of the share of a class."""
    where, name = f"ModelDeployment {namespace}/{model}", _plain(share.name)
    window, held = _duration(share.window_seconds), _duration(share.for_seconds)
    counted = answers(namespace, model, f"{share.window_seconds}s")
    each = f"sum by (label) (increase({COUNTER}{{{server_series(namespace, model)}}}[{share.window_seconds}s]))"
    found = []
    for bound, sense, compared, much in ((share.above, ">", "more", "many"), (share.below, "<", "fewer", "few")):
        if bound is None:
            continue
        since = f", and have been for {held}" if share.for_seconds else ""
        alert = Alert(
            f"KaonModelClassShare{'High' if sense == '>' else 'Low'}",
            class_share(namespace, model, share),
            f"{sense} {bound:g} and {counted} >= {share.min_answers}",
            f"{share.for_seconds}s",
            "warning",
            f"{where}: {much} answers are '{name}'",
            f"{{{{ $value | humanizePercentage }}}} of the answers of the last {window} are '{name}', {compared} than "
            f"{bound * 100:g}%{since}.",
            "Either what is asked has changed, or the model. How all classes stand: the panel 'Shares of classes' of "
            f"the dashboard, or {each} in Prometheus. If it began with a new revision (status.history), compare "
            f"its evaluation with the one before: kubectl -n {namespace} describe modeldeployment {model}; set "
            "spec.modelRef back if it is worse. Else read some of what is asked: where it is another kind of input, "
            "train on it too; where it is as it should be, change the limit in spec.monitoring.alerts.classShare.",
            {"class": name},
        )
        found.append(alert)
    return found


def _quoted(text: str) -> str:
    """A string of PromQL."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(text: str) -> str:
    """Text in an annotation or a label of an alert, which Prometheus reads as a template, as it stands there."""
    return text.replace("{{", '{{ "{{" }}')


def _duration(seconds: int) -> str:
    """As people say it: "30 minutes"."""
    units = {"hour": 3600, "minute": 60, "second": 1}
    unit = next(unit for unit, length in units.items() if seconds % length == 0)
    count = seconds // units[unit]
    return f"{count} {unit}{'' if count == 1 else 's'}"


def alerts(
    namespace: str,
    model: str,
    *,
    revision: str,
    server: str,
    max_error_ratio: float,
    max_latency_ms: float,
    class_shares: Sequence[ClassShare] = (),
) -> list[Alert]:
    """The alerts of one model."""
    where = f"ModelDeployment {namespace}/{model}"
    # Beyond the last bucket a quantile cannot be told, and the alert could never be true.
    bound = min(max_latency_ms, LATENCY_BUCKETS_MS[-2])
    look = f"kubectl -n {namespace} describe modeldeployment {model}"
    pods = f"kubectl -n {namespace} get pods -l kaon.dev/owner={model},app.kubernetes.io/component"
    found = [
        Alert(
            "KaonModelErrors",
            error_ratio(namespace, model),
            f"> {max_error_ratio:g}",
            "5m",
            "critical",
            f"{where} answers too many requests with an error",
            f"More than {max_error_ratio:.2%} of the requests of the last {WINDOW} ended with a 5xx status.",
            f"Look at the router's log, which has a line for each: kubectl -n {namespace} logs deploy/{model}-router. "
            "Flags UH: no ready server; UT: timeout; UF: connection failed. Then at the servers' logs: "
            f"{pods}=server. If it began with a new revision (status.history), set spec.modelRef back.",
        ),
        Alert(
            "KaonModelSlow",
            latency_p99_ms(namespace, model),
            f"> {bound:g}",
            "10m",
            "warning",
            f"{where} answers slowly",
            f"The p99 of the answers of the last {WINDOW} is above {bound:g} ms.",
            f"Compare with the evaluation's latency: {look}. If the processors are busy, raise spec.replicas; if "
            "requests queue, raise spec.batching.maxBatchSize; if the model itself is slow, compress it.",
        ),
        Alert(
            "KaonModelTimeouts",
            timeout_ratio(namespace, model),
            f"> {max_error_ratio:g}",
            "5m",
            "critical",
            f"{where} leaves requests without an answer",
            f"More than {max_error_ratio:.2%} of the requests of the last {WINDOW} exceeded spec.route.timeoutSeconds.",
            f"A server hangs or is overloaded: {pods}=server, then its log. Raise spec.replicas, or delete the pod "
            "that hangs. Raise spec.route.timeoutSeconds only where the model needs the time.",
        ),
        Alert(
            "KaonModelUnavailable",
            ready_servers(namespace, model, revision),
            "< 1",
            "1m",
            "critical",
            f"{where} has no ready server",
            f"No router knows a ready pod of revision {revision}, which has the traffic.",
            f"The Ready condition names the cause: {look}. Then the pods: {pods}=server.",
        ),
        Alert(
            "KaonModelMetricsMissing",
            served_requests(namespace, model, server),
            "absent({signal})",
            "10m",
            "warning",
            f"{where} cannot be watched",
            "No server of this model is scraped: the other alerts are blind.",
            f"Does your Prometheus select the PodMonitor {model} (podMonitorSelector), may it reach the pods, and "
            f"do they run? {pods}=server.",
        ),
    ]
    if server == "triton":
        failures = Alert(
            "KaonModelInferenceFailures",
            triton_failure_ratio(namespace, model),
            f"> {max_error_ratio:g}",
            "5m",
            "critical",
            f"{where}: inferences fail in the server",
            f"Triton counts more than {max_error_ratio:.2%} failed inferences in the last {WINDOW}.",
            f"The server's log names the error: {pods}=server, then kubectl logs.",
        )
        found.append(failures)
    for share in class_shares:
        found += class_share_alerts(namespace, model, share)
    return found
