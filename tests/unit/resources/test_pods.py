"""What of a pod template reaches a pod, and in which form."""

from __future__ import annotations

import json
import re

import pytest

from kaon.api.common import StageSpec
from kaon.api.modeldeployment import ModelDeploymentSpec, Revision
from kaon.api.podtemplate import PodTemplate
from kaon.api.quantity import amount
from kaon.contract.jobspec import SPEC_VARIABLE, FetchWork, InputArtifact, JobSpec, Provenance
from kaon.resources.base import Images, Object
from kaon.resources.job import job
from kaon.resources.podpolicy import PodPolicy
from kaon.resources.pods import environment, pod_spec, resources_of, scratch_volume
from kaon.resources.serving_deployment import server_deployment
from kaon_jobs.report.apiserver import ACCOUNT_DIR

DIGEST = "sha256:" + "0" * 64
OWNER: Object = {"kind": "Dataset", "metadata": {"name": "x", "namespace": "ml", "uid": "1"}}
TEXTS = (
    "$",
    "$$",
    "$$$",
    "$(HOME)",
    "$$(HOME)",
    "$(APP_NAME)$",
    "${APP_NAME}",
    "$(",
    "$)",
    "a$b",
    "5 $",
    '","secret":"$(APP_NAME)"',
)


def as_the_pod_sees_it(variables: list[Object]) -> dict[str, str]:
    """What Kubernetes makes of literal variables (k8s.io/kubernetes/third_party/forked/golang/expansion)."""
    known: dict[str, str] = {}
    for variable in variables:
        if "value" in variable:
            known[variable["name"]] = re.sub(
                r"\$(\$|\(([^)]*)\))",
                lambda found, known=known: "$" if found[1] == "$" else known.get(found[2], found[0]),
                variable["value"],
            )
    return known


@pytest.mark.parametrize("text", TEXTS)
def test_a_users_variable_reaches_the_pod_as_it_was_written(text: str) -> None:
    template = PodTemplate.model_validate(
        {"env": [{"name": "APP_NAME", "value": "x"}, {"name": "APP_TEXT", "value": text}]}
    )
    assert as_the_pod_sees_it(environment(template, {"HOME": "/home"}))["APP_TEXT"] == text


def fetching(uri: str, **names: str) -> str:
    """The JobSpec of a server's init container, as it is written into the Deployment."""
    ref = {"kind": "TrainingRun", "name": "t"}
    template = {"env": [{"name": "APP_NAME", "value": '","secret":"other'}]}
    spec = ModelDeploymentSpec.model_validate({"modelRef": ref, "podTemplate": template})
    revision = Revision.model_validate(
        {
            **{"revision": "aaaaaaaa", "modelRef": ref, "server": "triton", "threads": 1, "batching": {}},
            **{"artifactUri": uri, "artifactDigest": DIGEST, "since": "2026-01-01T00:00:00Z", "weight": 100},
            **names,
        }
    )
    images = Images("jobs", "i" * 1024, "", "")
    owner = {"kind": "ModelDeployment", "metadata": {"name": "m" * 40, "namespace": "n" * 63, "uid": "u" * 36}}
    made = server_deployment(owner, spec, revision, replicas=1, images=images, version="v" * 64, limits={})
    (container,) = made["spec"]["template"]["spec"]["initContainers"]
    assert as_the_pod_sees_it(container["env"])["APP_NAME"] == '","secret":"other'
    return str(next(item["value"] for item in container["env"] if item["name"] == SPEC_VARIABLE))


@pytest.mark.parametrize("text", TEXTS)
def test_what_a_server_is_told_cannot_be_rewritten_by_a_variable(text: str) -> None:
    variables = [{"name": "APP_NAME", "value": '","secret":"other'}, {"name": "told", "value": fetching(text)}]
    seen = as_the_pod_sees_it(variables)["told"]
    assert json.loads(seen)["work"]["model"] == {"uri": text, "digest": DIGEST}


@pytest.mark.parametrize("character", ["a", "$", '"', "\x01", "\U0001f600"])
def test_the_most_that_a_server_is_told_is_far_from_what_a_variable_takes(character: str) -> None:
    """Every text as long as the CRDs let it be. Linux takes 128 KiB, the variable's name included."""
    longest = fetching(character * 2048, secretName=character * 253, evaluationDigest=DIGEST)
    assert len(longest.encode()) < 128 * 1024 / 4


def test_what_a_stage_is_told_is_in_no_variable_and_its_report_is_named() -> None:
    (container,) = stage_pod()["containers"]
    assert {item["name"] for item in container["env"]} == {
        *("HOME", "TMPDIR", "POD_NAME", "POD_NAMESPACE", "KAON_SCRATCH_BYTES", "NVIDIA_VISIBLE_DEVICES")
    }
    assert container["args"] == ["fetch", "--report", "x"]


def test_a_pull_secret_that_the_operator_has_already_is_named_once() -> None:
    template = PodTemplate.model_validate({"imagePullSecrets": [{"name": "registry"}, {"name": "mine"}]})
    images = Images("jobs", "", "", "", pull_secrets=("registry",))
    made = pod_spec(template, images, containers=[], volumes=[], service_account=None, grace_seconds=1)
    assert made["imagePullSecrets"] == [{"name": "registry"}, {"name": "mine"}]


REQUESTS = {"cpu": "500m", "memory": "1Gi"}
LIMITS = {"memory": "8Gi", "ephemeral-storage": "50Gi"}


@pytest.mark.parametrize(
    ("written", "requests", "limits"),
    [
        ({}, {**REQUESTS, "ephemeral-storage": "0"}, LIMITS),
        # The user's limit wins, above the default and below it; Kubernetes takes it for the request, as ever.
        ({"limits": {"memory": "64Gi"}}, {"cpu": "500m", "ephemeral-storage": "0"}, {**LIMITS, "memory": "64Gi"}),
        ({"limits": {"memory": "100Mi"}}, {"cpu": "500m", "ephemeral-storage": "0"}, {**LIMITS, "memory": "100Mi"}),
        ({"limits": {"ephemeral-storage": "1Gi"}}, REQUESTS, {**LIMITS, "ephemeral-storage": "1Gi"}),
        # A default limit is no cause to refuse a request.
        (
            {"requests": {"memory": "16Gi", "ephemeral-storage": "200Gi"}},
            {"cpu": "500m", "memory": "16Gi", "ephemeral-storage": "200Gi"},
            {"memory": "16Gi", "ephemeral-storage": "200Gi"},
        ),
        (
            {"requests": {"memory": "2Gi"}},
            {"cpu": "500m", "memory": "2Gi", "ephemeral-storage": "0"},
            LIMITS,
        ),
        (
            {"limits": {"nvidia.com/gpu": 1}},
            {**REQUESTS, "ephemeral-storage": "0"},
            {"nvidia.com/gpu": 1, **LIMITS},
        ),
    ],
)
def test_limits_hold_by_default_and_the_users_win(written: Object, requests: Object, limits: Object) -> None:
    template = PodTemplate.model_validate({"resources": written})
    assert resources_of(template, REQUESTS, LIMITS) == {"requests": requests, "limits": limits}


def test_a_default_request_gives_way_to_a_default_limit_below_it() -> None:
    assert resources_of(PodTemplate(), REQUESTS, {"memory": "512Mi"}) == {
        "requests": {"cpu": "500m", "memory": "512Mi"},
        "limits": {"memory": "512Mi"},
    }


def test_without_default_limits_there_are_those_of_the_user_alone() -> None:
    assert resources_of(PodTemplate(), REQUESTS, {}) == {"requests": REQUESTS}
    assert scratch_volume("work", {"requests": REQUESTS}) == {"name": "work", "emptyDir": {}}


def stage_pod(queue: str = "", **template: object) -> Object:
    spec = StageSpec.model_validate({"podTemplate": template})
    told = JobSpec(
        provenance=Provenance(kind="", namespace="", name="", uid="", generation=1, kaon_version="", image=""),
        input_digest=DIGEST,
        report="x",
        work=FetchWork(
            model=InputArtifact(uri="", digest=DIGEST), kind="model", server="triton", model_name="", target_dir="/"
        ),
    )
    limits = PodPolicy().stage_limits
    owner = {
        **OWNER,
        "metadata": {**OWNER["metadata"], "labels": {"kueue.x-k8s.io/queue-name": queue} if queue else {}},
    }
    made = job(owner, spec, told, Images("jobs", "", "", ""), secrets=frozenset(), limits=limits)
    found: Object = made["spec"]["template"]["spec"]
    return found


def test_every_empty_folder_of_a_stage_is_bounded_by_what_its_container_may_take() -> None:
    for pod, size in (
        (stage_pod(), "50Gi"),
        (stage_pod(resources={"limits": {"ephemeral-storage": "2Gi"}}), "2Gi"),
        (stage_pod(resources={"requests": {"ephemeral-storage": "90Gi"}}), "90Gi"),
    ):
        folders = {item["name"]: item["emptyDir"] for item in pod["volumes"] if "emptyDir" in item}
        assert folders["work"] == {"sizeLimit": size}
        assert folders["shm"]["medium"] == "Memory"
        assert amount(folders["shm"]["sizeLimit"]) < amount(pod["containers"][0]["resources"]["limits"]["memory"])


def test_a_queued_stage_asks_for_no_resource_that_its_queue_may_lack_and_is_bounded_all_the_same() -> None:
    pod = stage_pod("team-a")
    resources = pod["containers"][0]["resources"]
    assert resources["limits"].keys() == {"memory"} and resources["requests"].keys() == {"cpu", "memory"}
    assert {"name": "work", "emptyDir": {"sizeLimit": "50Gi"}} in pod["volumes"]
    written = stage_pod("team-a", resources={"limits": {"ephemeral-storage": "2Gi"}})
    assert written["containers"][0]["resources"]["limits"]["ephemeral-storage"] == "2Gi"
    assert {"name": "work", "emptyDir": {"sizeLimit": "2Gi"}} in written["volumes"]


def test_a_stages_token_lasts_an_hour_and_lies_where_the_stage_reads_it() -> None:
    pod = stage_pod()
    assert pod["automountServiceAccountToken"] is False
    (volume,) = (item for item in pod["volumes"] if "projected" in item)
    sources = {name: source for item in volume["projected"]["sources"] for name, source in item.items()}
    # No audience: the API server's own.
    assert sources["serviceAccountToken"] == {"path": "token", "expirationSeconds": 3600}
    paths = {item["path"] for kind in ("configMap", "downwardAPI") for item in sources[kind]["items"]}
    assert paths == {"ca.crt", "namespace"}
    (container,) = pod["containers"]
    (mount,) = (item for item in container["volumeMounts"] if item["name"] == volume["name"])
    assert mount == {"name": "token", "mountPath": str(ACCOUNT_DIR), "readOnly": True}


@pytest.mark.parametrize(
    ("limits", "shown"),
    [
        ({}, "void"),
        ({"memory": "1Gi", "nvidia.com/gpu": 0}, "void"),
        ({"nvidia.com/gpu": 1}, None),
        ({"nvidia.com/mig-1g.5gb": 1}, None),
    ],
)
def test_a_pod_sees_no_gpu_that_it_was_not_given(limits: Object, shown: str | None) -> None:
    template = PodTemplate.model_validate({"resources": {"limits": limits}})
    found = {item["name"]: item["value"] for item in environment(template, {})}
    assert found.get("NVIDIA_VISIBLE_DEVICES") == shown
