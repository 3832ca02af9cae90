"""What somebody could do who has the operator's token: what Kaon makes, and nothing beside it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from harness import Kubectl, OperatorProcess, eventually
from hostile.world import IMAGES, SYSTEM, World
from security.attempts import Object, Team

from kaon.engine import policies

LABELS = {"app.kubernetes.io/managed-by": "kaon"}
POLICIES = {"reports": "kaon-own-report", "operator": "kaon-own-token"}


def workload(kind: str, image: str = IMAGES["jobs"], **pod: Any) -> Object:
    """A Job or a Deployment with a hardened pod of that image."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {
        "containers": [{"name": "main", "image": image, "securityContext": security}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        **pod,
    }
    template = {"metadata": {"labels": {"app": "x"}}, "spec": spec}
    if kind == "Job":
        spec["restartPolicy"] = "Never"
        return {"apiVersion": "batch/v1", "kind": kind, "spec": {"suspend": True, "template": template}}
    selector = {"matchLabels": {"app": "x"}}
    return {"apiVersion": "apps/v1", "kind": kind, "spec": {"replicas": 0, "selector": selector, "template": template}}


def named(obj: Object, name: str = "mine", labels: Object | None = LABELS) -> Object:
    """The object with metadata."""
    return {**obj, "metadata": {"name": name, **({"labels": labels} if labels else {})}}


CONFIG_MAP: Object = {"apiVersion": "v1", "kind": "ConfigMap"}
SECRET: Object = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque"}
ACCOUNT: Object = {"apiVersion": "v1", "kind": "ServiceAccount"}
SERVICE: Object = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}
HOST = {"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}
SIDE = {"name": "side", "image": "evil.example/mine"}

TAKEN: dict[str, Object] = {
    "a labelled ConfigMap": named(CONFIG_MAP),
    "a labelled Service": named(SERVICE),
    "a Job of its own image": named(workload("Job")),
    **{f"a Deployment of {name}": named(workload("Deployment", image)) for name, image in IMAGES.items()},
    "the account of stages": named(ACCOUNT, "kaon-job"),
}
UNLABELLED, NOT_MADE = "writes only objects labelled", "the operator makes no "
IMAGE, HARD = "the operator runs only its own images, and not ", "the operator runs only hardened pods"
REFUSED: dict[str, tuple[Object, str]] = {
    "a ConfigMap without the label": (named(CONFIG_MAP, labels=None), UNLABELLED),
    "a ConfigMap of another manager": (
        named(CONFIG_MAP, labels={"app.kubernetes.io/managed-by": "Helm"}),
        UNLABELLED,
    ),
    "a Job without the label": (named(workload("Job"), labels=None), UNLABELLED),
    "a Job of another image": (named(workload("Job", "evil.example/mine")), IMAGE + "evil.example/mine"),
    "a Job of another tag": (named(workload("Job", IMAGES["jobs"] + "2")), IMAGE),
    "a Deployment of another image": (named(workload("Deployment", "evil.example/mine")), IMAGE),
    "a first container of another image": (named(workload("Job", initContainers=[SIDE])), IMAGE + "evil.example/mine"),
    "a pod on the node's network": (named(workload("Deployment", hostNetwork=True)), HARD),
    "a pod that sees the node's processes": (named(workload("Deployment", hostPID=True)), HARD),
    "a pod with a folder of the node": (named(workload("Deployment", **HOST)), HARD),
    "a pod that may be root": (named(workload("Deployment", securityContext={})), HARD),
    "another account": (named(ACCOUNT, "mine"), "only those named kaon-job"),
}


@pytest.fixture(scope="module")
def thief(chart_world: World, operator: OperatorProcess) -> Kubectl:
    """kubectl with a token of the operator's account."""
    return Kubectl(chart_world.cluster.tool("kubectl"), chart_world.identity)


@pytest.fixture(scope="module")
def almighty(chart_world: World, thief: Kubectl) -> Iterator[Kubectl]:
    """The same, after somebody has bound the account to every right there is: only the policy is left."""
    account = f"--serviceaccount={SYSTEM}:kaon-operator"
    chart_world.kubectl("create", "clusterrolebinding", "too-much", "--clusterrole=cluster-admin", account)
    eventually(lambda: "yes" in thief("auth", "can-i", "create", "secrets", check=False), "the right to everything")
    yield thief
    chart_world.kubectl("delete", "clusterrolebinding", "too-much")


def create(kubectl: Kubectl, team: Team, obj: Object) -> str:
    return kubectl("create", "--dry-run=server", "-n", team.name, "-f", "-", stdin=json.dumps(obj), check=False)


@pytest.mark.parametrize("what", TAKEN)
def test_what_kaon_makes_is_taken(thief: Kubectl, team: Team, what: str) -> None:
    said = create(thief, team, TAKEN[what])
    assert "created (server dry run)" in said or 'serviceaccounts "kaon-job" already exists' in said


@pytest.mark.parametrize("what", REFUSED)
def test_what_kaon_does_not_make_is_refused(thief: Kubectl, team: Team, what: str) -> None:
    obj, why = REFUSED[what]
    assert why in create(thief, team, obj)


def test_nothing_of_somebody_elses_is_changed_or_deleted(thief: Kubectl, team: Team) -> None:
    team.put(named(CONFIG_MAP, "theirs", labels=None))
    team.put({**named(workload("Deployment"), "theirs", labels=None), "metadata": {"name": "theirs"}})
    change = json.dumps({"metadata": {"labels": LABELS}})
    for kind in ("configmap", "deployment"):
        patch = ("patch", kind, "theirs", "-n", team.name, "--type=merge", "-p", change)
        assert UNLABELLED in thief(*patch, check=False)
        assert UNLABELLED in thief("delete", kind, "theirs", "-n", team.name, "--wait=false", check=False)


def test_a_running_workload_gets_no_other_image_and_keeps_one_of_an_older_release(
    thief: Kubectl, team: Team, chart_world: World
) -> None:
    old = named(workload("Deployment", "registry.example/kaon/triton:0"), "old")
    team.put(old)
    replicas = json.dumps({"spec": {"replicas": 0, "minReadySeconds": 3}})
    patch = ("patch", "deployment", "old", "-n", team.name, "--type=merge", "-p")
    assert "patched" in thief(*patch, replicas, check=False)
    other = copy.deepcopy(old["spec"]["template"])
    other["spec"]["containers"][0]["image"] = "evil.example/mine"
    assert IMAGE in thief(*patch, json.dumps({"spec": {"template": other}}), check=False)


ONLY = "of Secrets the operator makes only its root key and those named kaon-signing, and changes none"
BEYOND: dict[str, tuple[Object, str]] = {
    "a pod": (
        named({"apiVersion": "v1", "kind": "Pod", "spec": workload("Job")["spec"]["template"]["spec"]}),
        NOT_MADE + "pods",
    ),
    "a role": (
        named({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": []}),
        NOT_MADE + "roles",
    ),
    "a DaemonSet": (
        named({**workload("Deployment"), "kind": "DaemonSet", "spec": {
            "selector": {"matchLabels": {"app": "x"}}, "template": workload("Deployment")["spec"]["template"]}}),
        NOT_MADE + "daemonsets",
    ),
    "a Secret of another name": (named(SECRET), ONLY),
    "a root key of another namespace": (named(SECRET, "kaon-root-key"), ONLY),
    "a token in a Secret": (
        {**SECRET, "type": "kubernetes.io/service-account-token", "metadata": {
            "name": "kaon-signing", "labels": LABELS,
            "annotations": {"kubernetes.io/service-account.name": "default"}}},
        ONLY,
    ),
    "another binding": (
        named({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        }),
        "only those named kaon-job",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BEYOND)
def test_a_right_too_many_is_of_no_use(almighty: Kubectl, team: Team, what: str) -> None:
    obj, why = BEYOND[what]
    assert why in create(almighty, team, obj)


def test_the_signing_secret_is_made_and_never_changed_or_deleted(almighty: Kubectl, team: Team) -> None:
    # The operator has made it for the stages of this namespace already; where there is none, it is taken.
    assert '"kaon-signing" already exists' in create(almighty, team, named(SECRET, "kaon-signing"))
    elsewhere = ("create", "--dry-run=server", "-n", "default", "-f", "-")
    assert "created" in almighty(*elsewhere, stdin=json.dumps(named(SECRET, "kaon-signing")), check=False)
    change = json.dumps({"stringData": {"key": "another"}})
    patch = ("patch", "secret", "kaon-signing", "-n", team.name, "-p", change)
    assert ONLY in almighty(*patch, check=False)
    delete = ("delete", "secret", "kaon-signing", "-n", team.name, "--wait=false")
    assert ONLY in almighty(*delete, check=False)


# -- whether the policies are in force ---------------------------------------------------------------------------------


def test_an_operator_says_that_both_policies_are_in_force(operator: OperatorProcess) -> None:
    for name in POLICIES:
        assert operator.metric("kaon_policy_in_force", policy=name) == 1


@pytest.mark.parametrize("name", POLICIES)
def test_without_a_policys_binding_an_operator_does_not_begin_to_work(
    chart_world: World, thief: Kubectl, name: str
) -> None:
    kubectl, policy = chart_world.kubectl, POLICIES[name]
    binding = json.loads(kubectl("get", "validatingadmissionpolicybinding", policy, "-o", "json"))
    probe = json.dumps(policies.POLICIES[name].probe)
    ask = ("create", "--dry-run=server", "-n", SYSTEM, "-f", "-")
    assert policies.POLICIES[name].refusal in thief(*ask, stdin=probe, check=False)
    kubectl("delete", "validatingadmissionpolicybinding", policy)
    eventually(lambda: "created" in thief(*ask, stdin=probe, check=False), "the API server to enforce it no more")
    flags = ("--no-leader-elect", "--namespaces", SYSTEM, "--require-policies", name)
    started = OperatorProcess(chart_world.identity, list(flags), ["-m", "kaon.engine.main"], {})
    try:
        said = f"the admission policy on {name} "
        eventually(lambda: said in started.probe("/readyz")[1], "word of the missing policy")
        eventually(lambda: f"The operator does not begin to work: {said}" in started.log, "a line of the log")
        assert started.metric("kaon_leader") == 0
        kept = {"apiVersion": binding["apiVersion"], "kind": binding["kind"], "spec": binding["spec"]}
        labels = binding["metadata"]["labels"]
        kubectl.apply({**kept, "metadata": {"name": policy, "labels": labels}})
        started.wait_ready(60)
        assert started.metric("kaon_policy_in_force", policy=name) == 1
    finally:
        started.stop()
