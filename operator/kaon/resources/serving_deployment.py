"""The Deployment of one revision: an init container that fetches and verifies the model, and the server.

The Secret of the artifact's store is mounted in the init container alone, which is gone when the server starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from kaon.api.modeldeployment import ModelDeploymentSpec, Revision
from kaon.contract.digest import canonical_json
from kaon.contract.jobspec import SPEC_VARIABLE, WORK_DIR, FetchWork, InputArtifact, JobSpec, Provenance
from kaon.resources import labels
from kaon.resources.base import Images, Object
from kaon.resources.pods import (
    child_labels,
    claim_volumes,
    environment,
    pod_spec,
    resources_of,
    scratch_environment,
    scratch_volume,
    secret_volumes,
)
from kaon.resources.serving_ports import METRICS_PORT, SERVER_METRICS, SETTLE_SECONDS, TRAFFIC_PORT, revision_name
from kaon.resources.signing import trust_volume

COMPONENT = "server"
MODEL_DIR = "/models"
REVISION_ANNOTATION = "kaon.dev/revision-spec"
"""The Revision as JSON: from it the status can be made again when it is lost."""
DEFAULT_REQUESTS = {
    "triton": {"cpu": "250m", "memory": "384Mi"},
    # It imports torch, and keeps a Java process beside the one that predicts.
    "torchserve": {"cpu": "250m", "memory": "1Gi"},
}
STARTUP_SECONDS = 600
"""A server that does not give the recorded answers within this time is started again."""


def server_labels(obj: Object, revision: Revision) -> dict[str, str]:
    """The labels of a revision's objects and pods."""
    return {**child_labels(obj, COMPONENT, revision.artifact_digest), labels.REVISION: revision.revision}


def server_selector(obj: Object, revision: Revision) -> dict[str, str]:
    """What tells a revision's pods from all others, for as long as the resource lives."""
    return {
        labels.OWNER_UID: obj["metadata"]["uid"],
        labels.COMPONENT: COMPONENT,
        labels.REVISION: revision.revision,
    }


def server_deployment(
    obj: Object,
    spec: ModelDeploymentSpec,
    revision: Revision,
    *,
    replicas: int,
    images: Images,
    version: str,
    limits: Mapping[str, str],
) -> Object:
    """The Deployment of `revision`, with the user's pod template as it is now. limits: those of a pod by default."""
    name = revision_name(obj["metadata"]["name"], revision.revision)
    selector = server_selector(obj, revision)
    recorded = revision.model_copy(update={"since": "", "weight": 0}).wire()
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": obj["metadata"]["namespace"],
            "labels": server_labels(obj, revision),
            "annotations": {REVISION_ANNOTATION: canonical_json(recorded).decode()},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selector},
            # A change of the template never takes a pod away before its successor answers and the router knows it.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "minReadySeconds": SETTLE_SECONDS,
            "progressDeadlineSeconds": STARTUP_SECONDS + 300,
            "revisionHistoryLimit": 2,
            "template": {
                "metadata": {"labels": server_labels(obj, revision)},
                "spec": _pod(obj, spec, revision, images, version, limits),
            },
        },
    }


def _pod(
    obj: Object,
    spec: ModelDeploymentSpec,
    revision: Revision,
    images: Images,
    version: str,
    limits: Mapping[str, str],
) -> Object:
    template = spec.pod_template
    image = images.triton if revision.server == "triton" else images.torchserve
    longest = math.ceil(spec.route.timeout_seconds)
    secrets = secret_volumes([revision.secret_name] if revision.secret_name else [])
    claims = claim_volumes(template)
    trust = trust_volume(signs=False)
    resources = resources_of(template, DEFAULT_REQUESTS[revision.server], limits)
    work = {"name": "work", "mountPath": WORK_DIR}
    common: Object = {"image": image, "imagePullPolicy": images.pull_policy, "resources": resources}
    told = _fetch(obj, revision, image, version).text
    fetch = {
        **common,
        "name": "fetch",
        "command": ["kaon-job", "fetch"],
        "env": environment(template, {**scratch_environment(), SPEC_VARIABLE: told}),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "model", "mountPath": MODEL_DIR}, work, trust[1], *secrets[1], *claims[1]],
    }
    own_environment = {**scratch_environment(), "KAON_EXIT_TIMEOUT_SECONDS": str(longest + 5)}
    server = {
        **common,
        "name": "server",
        "env": environment(template, own_environment),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "ports": [
            {"name": "http", "containerPort": TRAFFIC_PORT[revision.server], "protocol": "TCP"},
            {"name": SERVER_METRICS, "containerPort": METRICS_PORT[revision.server], "protocol": "TCP"},
        ],
        **_probes(obj["metadata"]["name"], revision),
        # The router goes on sending until it has looked the name up again.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(SETTLE_SECONDS)]}}},
        "volumeMounts": [
            {"name": "model", "mountPath": MODEL_DIR, "readOnly": True},
            work,
            {"name": "shm", "mountPath": "/dev/shm"},
            # Triton's python backend makes a folder there, whatever TMPDIR says, and ends when it cannot.
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    pod = pod_spec(
        template,
        images,
        containers=[server],
        init_containers=[fetch],
        volumes=[
            scratch_volume("model", resources),
            scratch_volume("work", resources),
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
            scratch_volume("tmp", resources),
            trust[0],
            *secrets[0],
            *claims[0],
        ],
        # A server asks the API server for nothing.
        service_account=None,
        grace_seconds=SETTLE_SECONDS + longest + 15,
    )
    return {**pod, "topologySpreadConstraints": [spread(server_selector(obj, revision))]}


def spread(selector: dict[str, str]) -> Object:
    """Prefer different nodes."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector},
    }


def _fetch(obj: Object, revision: Revision, image: str, version: str) -> JobSpec:
    meta = obj["metadata"]
    return JobSpec(
        # No generation: a change of the spec that does not concern the model must not start its pods anew.
        provenance=Provenance(
            kind=obj["kind"],
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            generation=0,
            kaon_version=version,
            image=image,
        ),
        input_digest=revision.artifact_digest,
        work=FetchWork(
            model=InputArtifact(
                uri=revision.artifact_uri, digest=revision.artifact_digest, secret=revision.secret_name
            ),
            kind="compressed-model" if revision.model_ref.kind == "CompressionJob" else "model",
            evaluation=revision.evaluation_digest,
            server=revision.server,
            model_name=meta["name"],
            target_dir=MODEL_DIR,
            threads=revision.threads,
            max_batch_size=revision.batching.max_batch_size,
            max_delay_ms=revision.batching.max_delay_ms,
        ),
    )


def _probes(model: str, revision: Revision) -> Object:
    probe = ["python3", "-m", "kaon_jobs.serve.probe"]
    port = TRAFFIC_PORT[revision.server]
    if revision.server == "triton":
        ready: Object = {"httpGet": {"path": f"/v2/models/{model}/ready", "port": port}, "periodSeconds": 3}
        alive = "/v2/health/live"
    else:
        # TorchServe's /ping is healthy while no worker is; only its management port knows, which stays in the pod.
        ready = {"exec": {"command": [*probe, "torchserve", model]}, "periodSeconds": 5}
        alive = "/ping"
    return {
        "startupProbe": {
            "exec": {"command": [*probe, "golden"]},
            "periodSeconds": 2,
            "timeoutSeconds": 30,
            "failureThreshold": STARTUP_SECONDS // 2,
        },
        "readinessProbe": {**ready, "timeoutSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {
            "httpGet": {"path": alive, "port": port},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }
