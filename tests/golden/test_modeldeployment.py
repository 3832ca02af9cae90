"""All children of a ModelDeployment, whole, as files that a reviewer reads. KAON_UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from knownkeys import TRUST

from kaon.api.modeldeployment import Batching, ModelDeploymentSpec, Revision, ServedModelReference
from kaon.api.signature import Signature, TensorSpec
from kaon.controllers.base import Images, Object, Observed, OperatorConfig
from kaon.controllers.conditions import parse_timestamp
from kaon.controllers.serving_children import children_of
from kaon.controllers.serving_rollout import Roles
from kaon.resources.podpolicy import Egress, Placement, PodPolicy
from kaon.resources.router_requests import CHECK

HERE = Path(__file__).parent / "modeldeployment"
CONFIG = OperatorConfig(
    trust=TRUST,
    images=Images("kaon/jobs:1", "kaon/triton:1", "kaon/torchserve:1", "kaon/router:1", pull_secrets=("registry",)),
    version="0.1.0",
    storage_secret="kaon-store",
    pods=PodPolicy(placement=Placement(tolerations=("serving",)), egress=Egress()),
)
REF: Object = {"kind": "CompressionJob", "name": "small"}
PLACED: Object = {
    "resources": {"limits": {"memory": "2Gi"}, "requests": {"cpu": "1"}},
    "nodeSelector": {"pool": "serving"},
    "tolerations": [{"key": "serving", "operator": "Exists", "effect": "NoSchedule"}],
    "env": [{"name": "APP_LOG", "value": "quiet"}],
    "volumes": [{"name": "store", "persistentVolumeClaim": "artifacts", "mountPath": "/mnt/artifacts"}],
}


TABLE = Signature(
    inputs=[
        TensorSpec(name="age", datatype="FP64", shape=[-1, 1], optional=True),
        TensorSpec(name="since", datatype="BYTES", shape=[-1, 1], optional=True, content="datetime"),
    ],
    outputs=[TensorSpec(name="prediction", datatype="FP64", shape=[-1, 1])],
)


def revision(name: str, server: Any = "triton", weight: int = 100, signature: Signature | None = None) -> Revision:
    return Revision(
        revision=name,
        model_ref=ServedModelReference.model_validate(REF),
        server=server,
        threads=2,
        batching=Batching(max_delay_ms=1.5),
        artifact_uri=f"s3://kaon/artifacts/compressionjobs/{name}",
        artifact_digest="sha256:" + name[0] * 64,
        secret_name="kaon-store",
        latency_p99_ms=25.0,
        signature=signature,
        since="2026-01-01T00:00:00Z",
        weight=weight,
    )


CASES: dict[str, tuple[Object, Roles, frozenset[str]]] = {
    "triton": ({}, Roles(stable=revision("aaaaaaaa")), frozenset()),
    "table": ({}, Roles(stable=revision("cccccccc", signature=TABLE)), frozenset()),
    "torchserve": ({"server": "torchserve"}, Roles(stable=revision("bbbbbbbb", "torchserve")), frozenset()),
    "switching-server": (
        {
            "server": "torchserve",
            "replicas": 3,
            "podTemplate": PLACED,
            "router": {"resources": {"limits": {"memory": "128Mi"}}},
            "route": {"timeoutSeconds": 2.5, "maxRequestBytes": 65536},
            "monitoring": {"alerts": {"classShare": [{"class": "earn", "above": 0.6, "below": 0.2}]}},
        },
        Roles(stable=revision("aaaaaaaa"), candidate=revision("bbbbbbbb", "torchserve", 0)),
        frozenset({"PodMonitor", "PrometheusRule"}),
    ),
}


def readable(child: Object) -> Object:
    """JSON inside strings becomes a tree."""
    if child["kind"] == "ConfigMap":
        child["data"] = {name: json.loads(text, object_hook=_program_by_name) for name, text in child["data"].items()}
    pod = child.get("spec", {}).get("template", {}).get("spec", {})
    for container in pod.get("initContainers", []):
        for variable in container["env"]:
            if variable["name"] == "KAON_JOB_SPEC":
                variable["value"] = json.loads(variable["value"])
    return child


def _program_by_name(item: Object) -> Object:
    """The check of requests stands in files of its own, where reviewers read it."""
    return {"inline_string": "router_json.lua, router_requests.lua"} if item.get("inline_string") == CHECK else item


@pytest.mark.parametrize("case", CASES)
def test_the_children_are_as_recorded(case: str) -> None:
    declared, roles, capabilities = CASES[case]
    spec = {"modelRef": REF, **declared}
    meta = {"name": "reuters", "namespace": "ml", "uid": "uid-1", "generation": 7, "labels": {"team": "news"}}
    observed = Observed(
        obj={"apiVersion": "kaon.dev/v1alpha1", "kind": "ModelDeployment", "metadata": meta, "spec": spec},
        children={},
        pods=[],
        references={},
        occupied=frozenset(),
        now=parse_timestamp("2026-01-01T00:00:00Z"),
        config=CONFIG,
        capabilities=capabilities,
    )
    children = children_of(observed, ModelDeploymentSpec.model_validate(spec), roles)
    found = yaml.safe_dump_all([readable(child.manifest) for child in children], sort_keys=False, width=120)
    recorded = HERE / f"{case}.yaml"
    if os.environ.get("KAON_UPDATE_GOLDEN"):
        recorded.write_text(found)
    assert found == recorded.read_text()
