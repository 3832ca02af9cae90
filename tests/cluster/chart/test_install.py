"""Install, upgrade and uninstall, by helm and by kubectl: what comes, what stays, what goes."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localcluster import Cluster

ROOT = Path(__file__).parents[3]
CHART = str(ROOT / "charts" / "kaon")
CRDS = ("datasets", "trainingruns", "compressionjobs", "modeldeployments", "reports")
GONE = ("--set", "crds.keep=false,store.persistence.keep=false")


def until_gone(look: Callable[[], set[str]], before: set[str], seconds: float = 30) -> set[str]:
    """What is there beyond `before`, after the garbage collector had its time."""
    deadline = time.monotonic() + seconds
    while (left := look() - before) and time.monotonic() < deadline:
        time.sleep(0.5)
    return left


def test_an_install_is_admitted_under_restricted_and_an_uninstall_leaves_nothing(
    helm: Any,
    bare_cluster: Cluster,
    kube: Any,
    system: str,
    team: str,
    cluster_objects: Any,
    kubeconfig_of: Any,
    crds_gone: Any,
    tmp_path: Path,
) -> None:
    before = cluster_objects()
    features = "store.enabled=true,networkPolicy.enabled=true,operator.replicas=2,metrics.dashboard.enabled=true"
    spaces = ("--set", f"store.namespaces={{{team}}}")
    installed = helm("install", "kaon", CHART, "-n", system, *GONE, "--set", features, *spaces, cluster=bare_cluster)
    assert "Kaon 0.1.0 watches all namespaces." in installed
    assert f"helm test kaon --namespace {system}" in installed
    kube("wait", "--for=condition=Established", *(f"crd/{plural}.kaon.dev" for plural in CRDS), "--timeout=30s")
    deadline = time.monotonic() + 30
    while len(pods := kube("get", "pods", "-n", system, "-o", "name").split()) < 3:
        assert time.monotonic() < deadline, f"pods were refused: {pods}\n" + kube("get", "events", "-n", system)
        time.sleep(0.5)
    prepare_store(kubeconfig_of("kaon-store", system), tmp_path, system, team)
    assert secret_of(kube, team)["ca.crt"] == secret_of(kube, system, "kaon-store-root")["ca.crt"]
    helm("uninstall", "kaon", "-n", system, cluster=bare_cluster)
    crds_gone()
    assert until_gone(cluster_objects, before) == set()


def prepare_store(kubeconfig: Path, folder: Path, system: str, *tenants: str, generation: int = 1) -> None:
    """What the init container of the store does, with its own identity."""
    from kubernetes import config

    from kaon.storeinit import __main__ as init
    from kaon.storeinit.cluster import Cluster as Secrets

    config.load_kube_config(str(kubeconfig))
    arguments = ["--root-secret=kaon-store-root", "--client-secret=kaon-store", f"--home={system}"]
    arguments += [f"--endpoint=https://kaon-store.{system}.svc.cluster.local:7070", f"--generation={generation}"]
    arguments += [f"--bucket-folder={folder / 'kaon'}", f"--server-folder={folder / 'server'}"]
    options = init.parser().parse_args([*arguments, *(f"--tenant={name}" for name in (system, *tenants))])
    init.prepare(options, Secrets("kaon-store-root"), Secrets("kaon-store"), datetime.now(UTC))


def secret_of(kube: Any, namespace: str, name: str = "kaon-store") -> dict[str, str]:
    data = json.loads(kube("get", "secret", name, "-n", namespace, "-o", "json"))["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def test_an_upgrade_changes_what_it_is_told_and_nothing_else(
    helm: Any, bare_cluster: Cluster, kube: Any, system: str, crds_gone: Any
) -> None:
    helm("install", "kaon", CHART, "-n", system, *GONE, cluster=bare_cluster)

    def version(kind: str) -> str:
        return str(json.loads(kube("get", kind, "kaon-operator", "-n", system, "-o", "json"))["metadata"]["uid"])

    uids = {kind: version(kind) for kind in ("deployment", "serviceaccount", "service")}
    generation = kube("get", "deployment", "kaon-operator", "-n", system, "-o", "jsonpath={.metadata.generation}")
    helm("upgrade", "kaon", CHART, "-n", system, *GONE, cluster=bare_cluster)
    again = kube("get", "deployment", "kaon-operator", "-n", system, "-o", "jsonpath={.metadata.generation}")
    assert again == generation
    settings = ("--set", "operator.logLevel=debug")
    helm("upgrade", "kaon", CHART, "-n", system, *GONE, *settings, cluster=bare_cluster)
    assert "--log-level=debug" in kube("get", "deployment", "kaon-operator", "-n", system, "-o", "json")
    assert {kind: version(kind) for kind in uids} == uids
    helm("uninstall", "kaon", "-n", system, cluster=bare_cluster)
    crds_gone()


def test_crds_and_the_stores_claim_outlive_an_uninstall_and_are_taken_over_again(
    helm: Any, bare_cluster: Cluster, kube: Any, system: str, crds_gone: Any
) -> None:
    settings = ("--set", "store.enabled=true")
    helm("install", "kaon", CHART, "-n", system, *settings, cluster=bare_cluster)
    kube("wait", "--for=condition=Established", "crd/trainingruns.kaon.dev", "--timeout=30s")
    claim = ("get", "pvc", "kaon-store", "-n", system, "-o", "jsonpath={.metadata.uid}")
    run = ROOT / "examples/r8/trainingrun.yaml"
    kube("apply", "-n", system, "-f", str(run))
    uids = kube(*claim), kube("get", "trun", "reuters-r8", "-n", system, "-o", "jsonpath={.metadata.uid}")
    helm("uninstall", "kaon", "-n", system, "--wait", cluster=bare_cluster)
    helm("install", "kaon", CHART, "-n", system, *settings, *GONE, cluster=bare_cluster)
    assert uids == (
        kube(*claim),
        kube("get", "trun", "reuters-r8", "-n", system, "-o", "jsonpath={.metadata.uid}"),
    )
    helm("uninstall", "kaon", "-n", system, cluster=bare_cluster)
    crds_gone()
    assert "crd" not in kube("get", "crd", "-o", "name")


def test_plain_manifests_apply_and_their_removal_leaves_nothing(
    kube: Any, cluster_objects: Any, crds_gone: Any
) -> None:
    before = cluster_objects()
    manifests = str(ROOT / "deploy" / "kaon.yaml")
    # Without --server-side, as most people type it: no object may be too large for the annotation.
    kube("apply", "-f", manifests)
    kube("wait", "--for=condition=Established", *(f"crd/{plural}.kaon.dev" for plural in CRDS), "--timeout=30s")
    assert "configured" not in kube("apply", "-f", manifests)
    pods = ("get", "pods", "-n", "kaon-system", "-o", "name")
    deadline = time.monotonic() + 30
    while "pod/kaon-operator" not in kube(*pods):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    kube("delete", "-f", manifests, "--wait=false")
    crds_gone()
    assert until_gone(cluster_objects, before) == set()


def test_each_namespace_gets_a_key_of_its_own_and_the_roots_stays_at_home(
    helm: Any, bare_cluster: Cluster, kube: Any, system: str, team: str, kubeconfig_of: Any, tmp_path: Path,
    crds_gone: Any,
) -> None:  # fmt: skip
    settings = ("--set", "store.enabled=true")
    helm("install", "kaon", CHART, "-n", system, *GONE, *settings, cluster=bare_cluster)
    prepare_store(kubeconfig_of("kaon-store", system), tmp_path, system)
    root = secret_of(kube, system, "kaon-store-root")
    # A namespace that is added later.
    added = ("--set", f"store.enabled=true,store.namespaces={{{team}}}")
    helm("upgrade", "kaon", CHART, "-n", system, *GONE, *added, cluster=bare_cluster)
    identity = kubeconfig_of("kaon-store", system)
    prepare_store(identity, tmp_path, system, team)
    first = secret_of(kube, team)
    assert first["AWS_SECRET_ACCESS_KEY"] not in {
        root["ROOT_SECRET_KEY"],
        secret_of(kube, system)["AWS_SECRET_ACCESS_KEY"],
    }
    assert root["ROOT_SECRET_KEY"] not in json.dumps(first) and root["tls.key"] not in json.dumps(first)
    assert kube("get", "secrets", "-n", team, "-o", "name").split() == ["secret/kaon-store"]
    # Other keys, over a Secret that somebody changed.
    kube("patch", "secret", "kaon-store", "-n", team, "-p", '{"stringData": {"AWS_ENDPOINT_URL": "https://evil"}}')
    prepare_store(identity, tmp_path, system, team, generation=2)
    second = secret_of(kube, team)
    assert second["AWS_SECRET_ACCESS_KEY"] != first["AWS_SECRET_ACCESS_KEY"]
    assert second["AWS_ENDPOINT_URL"] == first["AWS_ENDPOINT_URL"]
    assert secret_of(kube, system, "kaon-store-root") == root
    # A namespace that leaves loses its Secret with its Role.
    helm("upgrade", "kaon", CHART, "-n", system, *GONE, *settings, cluster=bare_cluster)
    left = until_gone(lambda: set(kube("get", "secrets", "-n", team, "-o", "name").split()), set())
    assert left == set()
    helm("uninstall", "kaon", "-n", system, cluster=bare_cluster)
    crds_gone()


def test_the_store_changes_no_secret_of_somebody_else_and_may_read_no_other(
    helm: Any,
    bare_cluster: Cluster,
    kube: Any,
    system: str,
    team: str,
    kubeconfig_of: Any,
    caplog: Any,
    tmp_path: Path,
    crds_gone: Any,
) -> None:
    kube("create", "secret", "generic", "kaon-store", "-n", team, "--from-literal=AWS_ACCESS_KEY_ID=mine")
    kube("create", "secret", "generic", "another", "-n", team, "--from-literal=key=value")
    settings = ("--set", f"store.enabled=true,store.namespaces={{{team}}}")
    helm("install", "kaon", CHART, "-n", system, *GONE, *settings, cluster=bare_cluster)
    identity = kubeconfig_of("kaon-store", system)
    for _ in range(2):
        prepare_store(identity, tmp_path, system, team)
    assert secret_of(kube, team) == {"AWS_ACCESS_KEY_ID": "mine"}
    made = secret_of(kube, system)
    assert f"in {team} is not this store's" in caplog.text
    assert made["AWS_SECRET_ACCESS_KEY"] not in caplog.text
    as_store = f"--kubeconfig={identity}"
    assert "Forbidden" in kube("get", "secret", "another", "-n", team, as_store, check=False)
    assert "Forbidden" in kube("get", "secret", "kaon-store-root", "-n", team, as_store, check=False)
    assert "Forbidden" in kube("delete", "secret", "kaon-store", "-n", team, as_store, check=False)
    helm("uninstall", "kaon", "-n", system, cluster=bare_cluster)
    crds_gone()
    assert "kaon-store" in kube("get", "secret", "-n", team, "-o", "name")
