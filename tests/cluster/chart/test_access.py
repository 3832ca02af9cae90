"""Who may do what: the operator, the stages' pods, and people; asked of the API server itself."""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster import Cluster

ROOT = Path(__file__).parents[3]
CHART = str(ROOT / "charts" / "kaon")
REPORT = "reuters-r8-trun-0123456789"
LONG = "a" * 40 + "-trun-0123456789"

KAONS = {"app.kubernetes.io/managed-by": "kaon"}
"""The label without which the operator's token writes nothing."""
OPERATOR_MAY = (
    *("list datasets.kaon.dev", "watch modeldeployments.kaon.dev", "update trainingruns.kaon.dev/status"),
    *("create reports.kaon.dev", "create jobs.batch", "patch jobs.batch", "delete jobs.batch"),
    *(
        "create deployments.apps",
        "patch services",
        "delete configmaps",
        "list pods",
        "create events.events.k8s.io",
    ),
    *(
        "create serviceaccounts",
        "create rolebindings.rbac.authorization.k8s.io",
        "list rolebindings.rbac.authorization.k8s.io",
    ),
    *("create networkpolicies.networking.k8s.io", "create poddisruptionbudgets.policy"),
    "create podmonitors.monitoring.coreos.com",
    # The keys of trust domains: made, and never read.
    "create secrets",
)
OPERATOR_MAY_NOT = (
    *("get secrets", "list secrets", "patch secrets", "create pods", "delete pods", "create pods/exec"),
    *("patch datasets.kaon.dev", "update trainingruns.kaon.dev", "delete modeldeployments.kaon.dev"),
    *("get datasets.kaon.dev", "get pods", "create horizontalpodautoscalers.autoscaling"),
    *("patch datasets.kaon.dev/status", "patch reports.kaon.dev", "create events", "patch events.events.k8s.io"),
    *("patch reports.kaon.dev/status", "delete serviceaccounts", "patch serviceaccounts"),
    *("patch rolebindings.rbac.authorization.k8s.io", "create roles.rbac.authorization.k8s.io"),
    *("escalate roles.rbac.authorization.k8s.io", "bind clusterroles.rbac.authorization.k8s.io/admin"),
    *("create serviceaccounts/token", "impersonate serviceaccounts", "list nodes", "list namespaces"),
)
JOB_MAY = ("patch reports.kaon.dev/status",)
JOB_MAY_NOT = (
    *("get reports.kaon.dev", "get reports.kaon.dev/status"),
    *("list reports.kaon.dev", "patch reports.kaon.dev", "create reports.kaon.dev", "delete reports.kaon.dev"),
    *("get datasets.kaon.dev", "patch trainingruns.kaon.dev/status", "get secrets", "get configmaps", "list pods"),
    *("create jobs.batch", "create pods", "get serviceaccounts"),
)


def may(kube: Any, namespace: str, user: str, what: str) -> bool:
    """A SubjectAccessReview; `what` is "verb resource.group/subresource", or "bind resource.group/name"."""
    verb, _, target = what.partition(" ")
    resource, _, below = target.partition("/")
    plural, _, group = resource.partition(".")
    attributes = {"namespace": namespace, "verb": verb, "resource": plural, "group": group}
    attributes["name" if verb == "bind" else "subresource"] = below
    # What the authenticator adds to every account's own groups.
    groups = ["system:serviceaccounts", "system:authenticated"] if user.startswith("system:serviceaccount:") else []
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": attributes},
    }
    answer: str = kube("create", "-f", "-", "-o", "jsonpath={.status.allowed}", stdin=json.dumps(review))
    return answer == "true"


@pytest.fixture(scope="module")
def installed(helm: Any, bare_cluster: Cluster, crds_gone: Any) -> Iterator[str]:
    """The chart with a ClusterRole; the namespace of the operator."""
    bare_cluster.kubectl("create", "namespace", "access-system", capture_output=True)
    arguments = ("install", "kaon", CHART, "-n", "access-system", "--set", "crds.keep=false")
    helm(*arguments, cluster=bare_cluster)
    bare_cluster.wait_for_crds()
    yield "access-system"
    helm("uninstall", "kaon", "-n", "access-system", cluster=bare_cluster)
    crds_gone()
    bare_cluster.kubectl("delete", "namespace", "access-system", capture_output=True)


@pytest.fixture
def job_account(installed: str, kube: Any, team: str) -> str:
    """The account kaon-job with its binding, as the operator makes them."""
    kube("create", "serviceaccount", "kaon-job", "-n", team)
    kube("create", "rolebinding", "kaon-job", "-n", team, "--clusterrole=kaon-job", f"--serviceaccount={team}:kaon-job")
    return f"system:serviceaccount:{team}:kaon-job"


def test_the_operator_may_do_its_work_and_nothing_else(installed: str, kube: Any, team: str) -> None:
    account = f"system:serviceaccount:{installed}:kaon-operator"
    assert [what for what in OPERATOR_MAY if not may(kube, team, account, what)] == []
    assert [what for what in OPERATOR_MAY_NOT if may(kube, team, account, what)] == []
    assert may(kube, team, account, "bind clusterroles.rbac.authorization.k8s.io/kaon-job")
    assert may(kube, installed, account, "create leases.coordination.k8s.io")
    assert not may(kube, team, account, "create leases.coordination.k8s.io")


def test_a_stages_pod_may_read_reports_and_write_their_status_and_nothing_else(
    kube: Any, team: str, job_account: str
) -> None:
    assert [what for what in JOB_MAY if not may(kube, team, job_account, what)] == []
    assert [what for what in JOB_MAY_NOT if may(kube, team, job_account, what)] == []
    assert not may(kube, "default", job_account, "get reports.kaon.dev")


def test_the_operator_can_bind_kaon_job_and_no_other_role(
    installed: str, kube: Any, team: str, kubeconfig_of: Callable[..., Path]
) -> None:
    operator = f"--kubeconfig={kubeconfig_of('kaon-operator', installed)}"

    def bind(role: str, **more: Any) -> str:
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "kaon-job", "namespace": team, "labels": KAONS},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "kaon-job", "namespace": team}],
        }
        return str(kube("create", "-f", "-", operator, stdin=json.dumps(binding), **more))

    assert "attempting to grant RBAC permissions not currently held" in bind("admin", check=False)
    assert "created" in bind("kaon-job")


@pytest.mark.parametrize(
    ("role", "allowed", "refused"),
    [
        ("view", ("get trainingruns.kaon.dev", "list reports.kaon.dev"), ("create datasets.kaon.dev",)),
        (
            "edit",
            ("create datasets.kaon.dev", "patch modeldeployments.kaon.dev/scale", "delete trainingruns.kaon.dev"),
            ("create reports.kaon.dev", "patch reports.kaon.dev/status", "patch datasets.kaon.dev/status"),
        ),
        ("admin", ("create compressionjobs.kaon.dev", "delete reports.kaon.dev"), ("patch reports.kaon.dev/status",)),
    ],
)
def test_the_clusters_own_roles_know_the_kinds(
    installed: str, kube: Any, team: str, role: str, allowed: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    kube("create", "rolebinding", "jane", "-n", team, f"--clusterrole={role}", "--user=jane")
    deadline = time.monotonic() + 15  # the aggregation is a controller's work
    while not all(may(kube, team, "jane", what) for what in allowed):
        assert time.monotonic() < deadline
    assert [what for what in refused if may(kube, team, "jane", what)] == []


@pytest.fixture
def write(kube: Any, team: str, job_account: str, kubeconfig_of: Callable[..., Path]) -> Callable[[str, str], str]:
    """write(pod, report): what the API server says when that pod, by its own token, writes that Report."""
    for name in (REPORT, "other-dset-0123456789", LONG):
        report = {
            "apiVersion": "kaon.dev/v1alpha1",
            "kind": "Report",
            "metadata": {"name": name, "namespace": team, "labels": KAONS},
            "spec": {"stage": "train", "jobName": name, "inputDigest": "sha256:" + "0" * 64},
        }
        kube("apply", "-f", "-", stdin=json.dumps(report))

    def attempt(pod: str, report: str) -> str:
        security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod, "namespace": team},
            "spec": {
                "serviceAccountName": "kaon-job",
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "c", "image": "none", "securityContext": security}],
            },
        }
        kube("apply", "-f", "-", stdin=json.dumps(body))
        config = kubeconfig_of("kaon-job", team, "--bound-object-kind=Pod", f"--bound-object-name={pod}")
        return patch(team, report, config)

    return attempt


def patch(namespace: str, report: str, kubeconfig: Path) -> str:
    """What a stage's pod sends: one merge patch. (kubectl would read the object first, which pods may not.)"""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, token = config["clusters"][0]["cluster"], config["users"][0]["user"]["token"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    handlers = (
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority)),
    )
    request = urllib.request.Request(
        f"{cluster['server']}/apis/kaon.dev/v1alpha1/namespaces/{namespace}/reports/{report}/status",
        json.dumps({"status": {"pod": f"pod-{time.monotonic_ns()}"}}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"},
        method="PATCH",
    )
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=30):
            return "patched"
    except urllib.error.HTTPError as error:
        return str(json.load(error)["message"])


def until_refused(attempt: Callable[[], str]) -> str:
    """A new policy takes a moment until the API server enforces it."""
    deadline = time.monotonic() + 20
    while "patched" in (said := attempt()):
        assert time.monotonic() < deadline, said
    return said


def test_a_pod_writes_its_own_report(write: Callable[[str, str], str]) -> None:
    assert "patched" in write(f"{REPORT}-0-x7k2p", REPORT)
    assert "patched" in write(f"{REPORT}-11-x7k2p", REPORT)


def test_a_pod_whose_jobs_name_was_cut_by_kubernetes_writes_its_own_report(write: Callable[[str, str], str]) -> None:
    # The Job controller keeps 58 characters before the random five: 55 of the Job's 56 here.
    assert "patched" in write(f"{LONG[:55]}-0-x7k2p", LONG)


def test_a_pod_that_writes_anothers_report_is_refused_with_both_names(write: Callable[[str, str], str]) -> None:
    said = until_refused(lambda: write("other-dset-0123456789-0-x7k2p", REPORT))
    assert "pod other-dset-0123456789-0-x7k2p may write only its own Report other-dset-0123456789" in said
    said = until_refused(lambda: write("reuters-r8-0-x7k2p", REPORT))
    assert "may write only its own Report reuters-r8" in said


def test_a_token_without_a_pod_writes_no_report(
    write: Callable[[str, str], str], team: str, kubeconfig_of: Callable[..., Path]
) -> None:
    config = kubeconfig_of("kaon-job", team)
    said = until_refused(lambda: patch(team, REPORT, config))
    assert "only a stage's pod, by its own token, writes a Report" in said


def test_the_operator_is_not_held_back_by_the_pods_policy(
    write: Callable[[str, str], str], kube: Any, team: str, installed: str, kubeconfig_of: Callable[..., Path]
) -> None:
    until_refused(lambda: write("other-dset-0123456789-0-x7k2p", REPORT))
    operator = kubeconfig_of("kaon-operator", installed)
    said = kube("delete", "report", REPORT, "-n", team, "--wait=false", f"--kubeconfig={operator}")
    assert "deleted" in said


def test_in_role_only_mode_the_operator_starts_stages_with_the_charts_own_roles(
    helm: Any,
    bare_cluster: Cluster,
    kube: Any,
    system: str,
    team: str,
    installed: str,
    kubeconfig_of: Callable[..., Path],
    start_operator: Callable[..., Any],
) -> None:
    settings = ("--set", f"crds.enabled=false,reportPolicy.enabled=false,watchNamespaces={{{team}}}")
    told = helm("install", "small", CHART, "-n", system, *settings, cluster=bare_cluster)
    assert "WARNING: reportPolicy.enabled is false" in told and "operatorPolicy.enabled is false" not in told
    account = f"system:serviceaccount:{system}:small-operator"
    assert not may(kube, "default", account, "list datasets.kaon.dev")
    operator = start_operator(
        *("--namespaces", team, "--lease-namespace", system, "--lease-name", "small-operator"),
        *("--storage-uri", "s3://kaon/artifacts", "--storage-secret", "kaon-store", "--require-policies", "operator"),
        kubeconfig=kubeconfig_of("small-operator", system),
    )
    kube("apply", "-n", team, "-f", str(ROOT / "examples/r8/dataset.yaml"))
    deadline = time.monotonic() + 30
    while not kube("get", "jobs", "-n", team, "-o", "name"):
        assert time.monotonic() < deadline, operator.log[-3000:]
        time.sleep(0.5)
    pods = ("get", "pods", "-n", team, "-o", "jsonpath={.items[*].spec.serviceAccountName}")
    while kube(*pods) != "kaon-job":
        assert time.monotonic() < deadline, kube("get", "events", "-n", team)
        time.sleep(0.5)
    assert may(kube, team, f"system:serviceaccount:{team}:kaon-job", "patch reports.kaon.dev/status")
    assert "not allowed" not in operator.log
    operator.stop()
    helm("uninstall", "small", "-n", system, "--wait", cluster=bare_cluster)
