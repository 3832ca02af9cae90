"""The operator in places that are not made for it: a Role only, no CRDs, no permission, no server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE_RULES = [
    {
        "apiGroups": ["kaon.dev"],
        "resources": ["*"],
        "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
    },
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
    {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    {
        "apiGroups": [""],
        "resources": ["services", "configmaps", "serviceaccounts"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
]


def kubeconfig_of(kubectl: Any, namespace: str, account: str, folder: Path) -> Path:
    """A kubeconfig for a service account."""
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": kubectl("create", "token", account, "-n", namespace).strip()}
    path = folder / f"{account}.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def other_namespace(kubectl: Any) -> Iterator[str]:
    name = f"other-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def test_with_a_role_alone_it_serves_its_namespace_and_looks_at_no_other(
    kubectl: Any,
    namespace: str,
    other_namespace: str,
    start_tiny: Callable[..., Any],
    dataset: Callable[..., Any],
    eventually: Any,
    tmp_path: Path,
) -> None:
    kubectl("create", "serviceaccount", "operator", "-n", namespace)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "operator", "namespace": namespace},
        "rules": ROLE_RULES,
    }
    kubectl.apply(role)
    kubectl(
        "create",
        "rolebinding",
        "operator",
        "-n",
        namespace,
        "--role=operator",
        f"--serviceaccount={namespace}:operator",
    )
    kubeconfig = kubeconfig_of(kubectl, namespace, "operator", tmp_path)
    operator = start_tiny("--namespaces", namespace, kubeconfig=kubeconfig).wait_leading()
    elsewhere = dataset("elsewhere")
    elsewhere["metadata"]["namespace"] = other_namespace
    kubectl.apply(dataset("here"), elsewhere)
    eventually(lambda: kubectl.get("dataset", "here", namespace).get("status"), "a status")
    eventually(lambda: kubectl.list("events.events.k8s.io", namespace), "an event")
    assert "status" not in kubectl.get("dataset", "elsewhere", other_namespace)
    assert operator.metric("kaon_resources", kind="Dataset") == 1
    levels = [json.loads(line)["level"] for line in operator.log.splitlines()]
    assert set(levels) <= {"info"}, operator.log


def test_a_missing_permission_for_a_child_is_named_in_the_log_and_in_an_event(
    kubectl: Any,
    namespace: str,
    start_tiny: Callable[..., Any],
    dataset: Callable[..., Any],
    eventually: Any,
    tmp_path: Path,
) -> None:
    kubectl("create", "serviceaccount", "operator", "-n", namespace)
    rules = [
        {**rule, "verbs": ["get", "list", "watch"]} if "configmaps" in rule["resources"] else rule
        for rule in ROLE_RULES
    ]
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "operator", "namespace": namespace},
        "rules": rules,
    }
    kubectl.apply(role)
    kubectl(
        "create",
        "rolebinding",
        "operator",
        "-n",
        namespace,
        "--role=operator",
        f"--serviceaccount={namespace}:operator",
    )
    kubeconfig = kubeconfig_of(kubectl, namespace, "operator", tmp_path)
    operator = start_tiny("--namespaces", namespace, kubeconfig=kubeconfig).wait_leading()
    kubectl.apply(dataset())
    eventually(lambda: "not allowed to PATCH configmaps" in operator.log, "the log names the permission")
    events = eventually(lambda: kubectl.list("events.events.k8s.io", namespace), "an event")
    assert events[0]["reason"] == "ApplyFailed"
    assert 'cannot patch resource "configmaps"' in events[0]["note"]


def test_without_crds_it_says_so_and_is_not_ready(
    bare_cluster: Any, start_tiny: Callable[..., Any], eventually: Any
) -> None:
    operator = start_tiny("--lease-namespace", "default", kubeconfig=bare_cluster.kubeconfig, ready=False)
    for kind in ("Dataset", "Report"):
        said = f"the cluster does not serve {kind}: its CustomResourceDefinition is missing. Install it with"
        eventually(lambda said=said: said in operator.log, "the log says what to do")
    eventually(lambda: "Dataset (not served)" in operator.probe("/readyz")[1], "readyz names the kind")
    assert operator.probe("/readyz")[0] == 503 and operator.probe("/healthz")[0] == 200
    assert operator.metric("kaon_watch_up", kind="Dataset") == 0
    assert operator.metric("kaon_watch_up", kind="Job") == 1
    assert "Traceback" not in operator.log


def test_without_permission_it_says_which_and_exits(
    kubectl: Any, namespace: str, start_tiny: Callable[..., Any], tmp_path: Path
) -> None:
    kubectl("create", "serviceaccount", "nobody", "-n", namespace)
    operator = start_tiny(kubeconfig=kubeconfig_of(kubectl, namespace, "nobody", tmp_path), ready=False)
    assert operator.wait_exit() == 1
    assert "may not list datasets in all namespaces" in operator.log
    assert "Traceback" not in operator.log


def test_with_a_token_that_is_not_accepted_it_says_so_and_exits(
    kubectl: Any, start_tiny: Callable[..., Any], tmp_path: Path
) -> None:
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "wrong"}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    operator = start_tiny(kubeconfig=path, ready=False)
    assert operator.wait_exit() == 1
    assert "does not accept the credentials" in operator.log
    assert "Traceback" not in operator.log


def test_without_a_server_it_says_so_and_exits(kubectl: Any, start_tiny: Callable[..., Any], tmp_path: Path) -> None:
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    operator = start_tiny(kubeconfig=path, ready=False)
    assert operator.wait_exit() == 1
    assert "cannot be reached" in operator.log
    assert "Traceback" not in operator.log


def test_without_a_kubeconfig_it_says_so_and_exits(start_tiny: Callable[..., Any], tmp_path: Path) -> None:
    operator = start_tiny(kubeconfig=tmp_path / "none", ready=False)
    assert operator.wait_exit() == 1
    assert "There is no way to a cluster" in operator.log
    assert "Traceback" not in operator.log
