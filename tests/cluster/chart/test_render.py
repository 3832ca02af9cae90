"""What the chart renders, without a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaon.engine import options
from kaon.engine.policies import POLICIES

ROOT = Path(__file__).parents[3]
EVERYTHING = (
    *("store.enabled=true", "store.namespaces={demo}", "networkPolicy.enabled=true", "operator.replicas=2"),
    *("metrics.serviceMonitor.enabled=true", "metrics.rules.enabled=true", "metrics.dashboard.enabled=true"),
)


def find(objects: list[dict[str, Any]], kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
    found = [
        obj
        for obj in objects
        if obj["kind"] == kind
        and obj["metadata"]["name"] == name
        and namespace in (None, obj["metadata"].get("namespace"))
    ]
    assert len(found) == 1, f"{len(found)} {kind} {name}"
    return found[0]


def kinds(objects: list[dict[str, Any]]) -> set[str]:
    return {obj["kind"] for obj in objects}


def operator_arguments(objects: list[dict[str, Any]]) -> list[str]:
    arguments: list[str] = find(objects, "Deployment", "kaon-operator")["spec"]["template"]["spec"]["containers"][0][
        "args"
    ]
    return arguments


def test_derived_files_are_up_to_date(helm: Any) -> None:
    from localcluster.tools import tool

    command = [sys.executable, ROOT / "charts" / "generate.py", "--check", "--helm", tool("helm", lambda line: None)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_rendering_twice_gives_the_same_because_nothing_is_random_or_looked_up(render: Any) -> None:
    assert render(*EVERYTHING) == render(*EVERYTHING)


def test_lint_finds_nothing(helm: Any) -> None:
    helm("lint", "--strict", str(ROOT / "charts" / "kaon"), "--set", ",".join(EVERYTHING))


def test_what_was_not_asked_for_is_not_there(render: Any) -> None:
    optional = {"ServiceMonitor", "PrometheusRule", "NetworkPolicy", "PodDisruptionBudget", "PersistentVolumeClaim"}
    assert not optional & kinds(render())
    assert optional <= kinds(render(*EVERYTHING))


def test_every_object_names_its_namespace_or_has_none(render: Any) -> None:
    cluster_scoped = {
        *("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"),
        *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
    }
    for obj in render(*EVERYTHING):
        assert ("namespace" in obj["metadata"]) != (obj["kind"] in cluster_scoped), obj["metadata"]["name"]


def test_role_only_mode_has_no_cluster_role_at_all(render: Any) -> None:
    objects = render("watchNamespaces={team-a,team-b}")
    assert not {"ClusterRole", "ClusterRoleBinding"} & kinds(objects)
    assert "--namespaces=team-a,team-b" in operator_arguments(objects)
    for namespace in ("team-a", "team-b"):
        find(objects, "ServiceAccount", "kaon-job", namespace)
        for name in ("kaon-operator", "kaon-job"):
            find(objects, "Role", name, namespace)
            binding = find(objects, "RoleBinding", name, namespace)
            assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}


def test_role_only_mode_without_crds_and_policies_is_namespaced_throughout(render: Any) -> None:
    without = ("crds.enabled=false", "reportPolicy.enabled=false", "operatorPolicy.enabled=false")
    for obj in render("watchNamespaces={team-a}", *without):
        assert "namespace" in obj["metadata"], obj["kind"]


def test_an_image_is_named_by_registry_repository_tag_and_digest(render: Any) -> None:
    digest = "sha256:" + "a" * 64
    objects = render(
        *("images.registry=registry.example/team/", "images.jobs.tag=t1", f"images.triton.digest={digest}")
    )
    arguments = operator_arguments(objects)
    assert "--image-jobs=registry.example/team/kaon/jobs:t1" in arguments
    assert f"--image-triton=registry.example/team/kaon/triton:0.1.0@{digest}" in arguments
    container = find(objects, "Deployment", "kaon-operator")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.example/team/kaon/operator:0.1.0"


def test_the_operator_understands_every_flag_that_the_chart_gives_it(render: Any) -> None:
    objects = render(*EVERYTHING, "watchNamespaces={a,b}", "images.pullSecrets={one,two}", "operator.logFormat=text")
    told = options.parse(operator_arguments(objects), {})
    assert told.namespaces == ("a", "b")
    assert told.image_pull_secrets == ("one", "two")
    assert (told.storage_uri, told.storage_secret) == ("s3://kaon", "kaon-store")
    assert (told.leader_elect, told.lease_namespace, told.lease_name) == (True, "kaon-system", "kaon-operator")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ((), ("reports", "operator")),
        (("reportPolicy.enabled=false",), ("operator",)),
        (("operatorPolicy.enabled=false",), ("reports",)),
        (("reportPolicy.enabled=false", "operatorPolicy.enabled=false"), ()),
    ],
)
def test_the_operator_waits_for_exactly_the_policies_that_the_chart_makes(
    render: Any, settings: tuple[str, ...], names: tuple[str, ...]
) -> None:
    objects = render(*settings)
    assert options.parse(operator_arguments(objects), {}).require_policies == names
    made = {obj["metadata"]["name"] for obj in objects if obj["kind"] == "ValidatingAdmissionPolicy"}
    bound = {obj["spec"]["policyName"] for obj in objects if obj["kind"] == "ValidatingAdmissionPolicyBinding"}
    assert made == bound == {{"reports": "kaon-own-report", "operator": "kaon-own-token"}[name] for name in names}
    texts = [json.dumps(obj["spec"]) for obj in objects if obj["kind"] == "ValidatingAdmissionPolicy"]
    for name in names:
        assert any(POLICIES[name].refusal in text for text in texts)


def test_the_operators_policy_names_the_images_that_the_operator_was_told(render: Any) -> None:
    objects = render("images.registry=registry.example", "images.jobs.tag=t1")
    told = options.parse(operator_arguments(objects), {})
    images = json.dumps([told.image_jobs, told.image_triton, told.image_torchserve, told.image_router])
    rules = find(objects, "ValidatingAdmissionPolicy", "kaon-own-token")["spec"]["validations"]
    assert sum(images.replace(" ", "") in rule["expression"] for rule in rules) == 1


def test_a_store_of_ones_own_goes_before_the_embedded_one(render: Any) -> None:
    told = options.parse(
        operator_arguments(render("store.enabled=true", "storage.uri=gs://b/p", "storage.credentials=PerNamespace")), {}
    )
    assert told.storage_uri == "gs://b/p"
    assert options.parse(operator_arguments(render()), {}).storage_uri == ""


def test_several_namespaces_over_a_store_of_ones_own_need_a_word_on_their_credentials(helm: Any) -> None:
    def said(*settings: str) -> str:
        flags = [flag for setting in settings for flag in ("--set", setting)]
        return str(helm("template", str(ROOT / "charts" / "kaon"), "--kube-version", "1.35", *flags, check=False))

    for watched in ("crds.keep=true", "watchNamespaces={team-a,team-b}"):
        refused = said("storage.uri=s3://b/p", watched)
        assert "storage.credentials" in refused and "PerNamespace" in refused and "Shared" in refused
        for word in ("PerNamespace", "Shared"):
            assert "--storage-uri=s3://b/p" in said("storage.uri=s3://b/p", watched, f"storage.credentials={word}")
    assert "--storage-uri=s3://b/p" in said("storage.uri=s3://b/p", "watchNamespaces={team-a}")


def test_the_stores_root_key_is_named_in_its_own_namespace_alone(render: Any) -> None:
    objects = render("store.enabled=true", "store.namespaces={team-a,team-b}")
    naming = {(obj["kind"], obj["metadata"]["namespace"]) for obj in objects if "kaon-store-root" in str(obj)}
    assert naming == {("Deployment", "kaon-system"), ("Role", "kaon-system")}
    pod = find(objects, "Deployment", "kaon-store")["spec"]["template"]["spec"]
    assert [arg for arg in pod["initContainers"][0]["args"] if arg.startswith("--tenant")] == [
        *("--tenant=kaon-system", "--tenant=team-a", "--tenant=team-b")
    ]
    assert all(probe["httpGet"]["scheme"] == "HTTPS" for name, probe in pod["containers"][0].items() if "Probe" in name)


def test_a_namespace_that_shares_a_trust_domain_gets_the_domains_folder_too(helm: Any) -> None:
    domains = '[{"name": "ml", "namespaces": ["team-a", "team-c"]}]'
    flags = ("--set", "store.enabled=true,store.namespaces={team-a,team-b}", "--set-json", f"trust.domains={domains}")
    rendered = helm("template", str(ROOT / "charts" / "kaon"), "--kube-version", "1.35", "-n", "kaon-system", *flags)
    told = [line.strip("- ") for line in rendered.splitlines() if "--tenant=" in line]
    assert told == ["tenant=kaon-system", "tenant=team-a=ml", "tenant=team-b"]
    assert "--trust-domains=ml=team-a+team-c" in rendered


def test_data_are_kept_at_uninstall_unless_told_otherwise(render: Any) -> None:
    def kept(*settings: str) -> set[str]:
        policy = "helm.sh/resource-policy"
        return {
            obj["kind"]
            for obj in render("store.enabled=true", *settings)
            if policy in obj["metadata"].get("annotations", {})
        }

    assert kept() == {"CustomResourceDefinition", "PersistentVolumeClaim"}
    assert kept("crds.keep=false", "store.persistence.keep=false") == set()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("oprator.replicas=2", "oprator"),
        ("operator.replica=2", "replica"),
        ("operator.replicas=two", "replicas"),
        ("images.pullPolicy=Sometimes", "pullPolicy"),
        ("images.jobs.digest=sha256:123", "digest"),
        ("watchNamespaces={Team_A}", "watchNamespaces"),
        ("storage.uri=bucket", "uri"),
        ("storage.credentials=Whatever", "credentials"),
        ("store.keyGeneration=0", "keyGeneration"),
        ("store.bucket=Not_a_bucket", "bucket"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: Any, setting: str, complaint: str) -> None:
    said = helm("template", str(ROOT / "charts" / "kaon"), "--kube-version", "1.35", "--set", setting, check=False)
    assert "values don't meet the specifications of the schema" in said
    assert complaint in said


def test_two_operators_without_a_lease_are_refused(helm: Any) -> None:
    settings = ("--set", "operator.leaderElection=false,operator.replicas=2")
    assert "replicas" in helm(
        "template", str(ROOT / "charts" / "kaon"), "--kube-version", "1.35", *settings, check=False
    )


def test_the_alerts_in_the_cluster_are_those_that_were_tested(render: Any) -> None:
    rule = find(render("metrics.rules.enabled=true"), "PrometheusRule", "kaon-operator")
    assert rule["spec"] == yaml.safe_load((ROOT / "charts/kaon/files/rules.yaml").read_text())


def test_the_dashboard_is_found_by_the_sidecars_label(render: Any) -> None:
    config = find(render("metrics.dashboard.enabled=true"), "ConfigMap", "kaon-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["data"]["kaon.json"] == (ROOT / "charts/kaon/files/dashboard.json").read_text()
