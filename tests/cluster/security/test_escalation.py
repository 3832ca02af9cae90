"""More rights than one's own, tried through every field of a resource: refused, or without the wished effect."""

from __future__ import annotations

from typing import Any

import pytest
from harness import eventually
from hostile.world import IMAGES
from security.attempts import SPECS, TEMPLATES, Object, Team, ready
from security.restricted import OWN_VARIABLES, environment, problems

UNKNOWN_FIELDS: dict[str, Any] = {
    "hostNetwork": True,
    "hostPID": True,
    "hostIPC": True,
    "hostUsers": True,
    "shareProcessNamespace": True,
    "nodeName": "control-plane",
    "schedulerName": "mine",
    "automountServiceAccountToken": True,
    "securityContext": {"runAsUser": 0},
    "containers": [{"name": "mine", "image": "mine"}],
    "initContainers": [{"name": "mine", "image": "mine"}],
    "image": "evil.example/mine",
    "imagePullPolicy": "Always",
    "command": ["sh"],
    "args": ["-c", "id"],
    "envFrom": [{"secretRef": {"name": "someone-elses"}}],
    "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["s3.amazonaws.com"]}],
    "labels": {"app.kubernetes.io/managed-by": "kaon"},
    "annotations": {"container.apparmor.security.beta.kubernetes.io/stage": "unconfined"},
    "metadata": {"labels": {"a": "b"}},
}
"""What a pod has and a template here has not."""

SECRET_KEY = {"secretKeyRef": {"name": "someone-elses", "key": "password"}}
CLAIM = {"name": "v", "persistentVolumeClaim": "claim"}
TYPED: dict[str, tuple[dict[str, Any], str]] = {
    "a variable from a Secret": ({"env": [{"name": "A", "value": "", "valueFrom": SECRET_KEY}]}, "unknown field"),
    "a volume of the host": (
        {"volumes": [{"name": "v", "hostPath": {"path": "/"}, "mountPath": "/mnt/a"}]},
        "unknown field",
    ),
    "a volume of a Secret": (
        {"volumes": [{"name": "v", "secret": {"secretName": "x"}, "mountPath": "/mnt/a"}]},
        "unknown field",
    ),
    "a volume with a token": ({"volumes": [{**CLAIM, "projected": {}, "mountPath": "/mnt/a"}]}, "unknown field"),
    "a path within the claim": ({"volumes": [{**CLAIM, "subPath": "../..", "mountPath": "/mnt/a"}]}, "unknown field"),
    "a mount over the code": ({"volumes": [{**CLAIM, "mountPath": "/opt/kaon/app"}]}, "mountPath must"),
    "a mount over the token": (
        {"volumes": [{**CLAIM, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]},
        "mountPath must",
    ),
    "a mount over the Secrets": ({"volumes": [{**CLAIM, "mountPath": "/var/run/kaon/secrets"}]}, "mountPath must"),
    "a mount that leads out": ({"volumes": [{**CLAIM, "mountPath": "/mnt/../etc"}]}, "mountPath must"),
    "an account by a path": ({"serviceAccountName": "kube-system/admin"}, "serviceAccountName"),
    "an account by its user name": ({"serviceAccountName": "system:serviceaccount:x:y"}, "serviceAccountName"),
    "a pull secret elsewhere": ({"imagePullSecrets": [{"name": "kube-system/pull"}]}, "imagePullSecrets"),
    "a pull secret's namespace": ({"imagePullSecrets": [{"name": "a", "namespace": "kube-system"}]}, "unknown field"),
    "a priority by a path": ({"priorityClassName": "../x"}, "priorityClassName"),
    "a runtime by a path": ({"runtimeClassName": "a/b"}, "runtimeClassName"),
}
VARIABLES = (
    *("KAON_JOB_SPEC", "KAON_SECRETS_DIR", "KAON_ANYTHING", "HOME", "TMPDIR", "PATH", "POD_NAME", "POD_NAMESPACE"),
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONINSPECT"),
    *("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"),
    *("OPENSSL_CONF", "OPENSSL_ENGINES", "BASH_ENV", "ENV", "CLASSPATH", "GCONV_PATH"),
    *("AWS_ENDPOINT_URL_S3", "HTTPS_PROXY", "SSL_CERT_FILE", "HF_ENDPOINT", "NVIDIA_VISIBLE_DEVICES", "MINE"),
)
"""Kaon's own, those by which a program runs other code, asks another server or sees more devices, and unknown ones."""


@pytest.mark.parametrize(("kind", "place"), TEMPLATES)
def test_what_a_pod_has_and_a_template_has_not_is_refused_by_name(team: Team, kind: str, place: str) -> None:
    said = team.refusal(team.resource(kind, "refused", **{place: UNKNOWN_FIELDS}))
    assert [field for field in UNKNOWN_FIELDS if f'unknown field "spec.{place}.{field}"' not in said] == []


@pytest.mark.parametrize(("kind", "place"), TEMPLATES)
def test_a_client_that_asks_for_no_validation_gets_none_of_it_into_a_pod(team: Team, kind: str, place: str) -> None:
    obj = team.made(team.resource(kind, f"lax-{place.lower()}", **{place: UNKNOWN_FIELDS}), "Ignore")
    assert obj["spec"][place] == {}
    for pod in team.pods(obj):
        assert problems(pod, IMAGES.values()) == []
        assert team.admits(pod) == ""


@pytest.mark.parametrize(("kind", "place"), TEMPLATES)
@pytest.mark.parametrize("attempt", TYPED)
def test_a_field_that_may_be_set_takes_nothing_that_leads_further(
    team: Team, kind: str, place: str, attempt: str
) -> None:
    template, refusal = TYPED[attempt]
    assert refusal in team.refusal(team.resource(kind, "refused", **{place: template}))


@pytest.mark.parametrize(("kind", "place"), TEMPLATES)
def test_a_variable_that_is_not_on_the_list_is_refused(team: Team, kind: str, place: str) -> None:
    env = [{"name": name, "value": "x"} for name in (*VARIABLES, "APP_MINE")]
    said = team.refusal(team.resource(kind, "refused", **{place: {"env": env}}))
    assert "this variable cannot be set" in said
    refused = [index for index in range(len(env)) if f"spec.{place}.env[{index}]" in said]
    assert refused == list(range(len(VARIABLES)))


def test_a_variables_value_is_taken_as_it_is(team: Team) -> None:
    """The kubelet replaces $(NAME) in values and makes $$ one: what is written twice comes out as it was written."""
    env = [{"name": "APP_MINE", "value": "$(KAON_JOB_SPEC) $$(HOME) $"}]
    obj = team.made(team.resource("ModelDeployment", "dollars", podTemplate={"env": env}))
    (pod,) = team.pods(obj)
    (fetch,) = pod["initContainers"]
    for container in (fetch, *pod["containers"]):
        assert environment(container)["APP_MINE"] == "$$(KAON_JOB_SPEC) $$$$(HOME) $$"
    assert '"stage":"fetch"' in environment(fetch)["KAON_JOB_SPEC"]


# -- references --------------------------------------------------------------------------------------------------------

ELSEWHERE = "kube-system/x"
REFERENCES: dict[str, tuple[str, Object, str]] = {
    "a dataset by a path": ("TrainingRun", {"datasetRef": {"name": ELSEWHERE}}, "spec.datasetRef.name"),
    "a dataset's namespace": (
        "TrainingRun",
        {"datasetRef": {"name": "x", "namespace": "other"}},
        'unknown field "spec.datasetRef.namespace"',
    ),
    "a run by a path": (
        "CompressionJob",
        {"modelRef": {"kind": "TrainingRun", "name": ELSEWHERE}},
        "spec.modelRef.name",
    ),
    "a run's namespace": (
        "CompressionJob",
        {"modelRef": {"kind": "TrainingRun", "name": "x", "namespace": "other"}},
        'unknown field "spec.modelRef.namespace"',
    ),
    "a model of another kind": (
        "ModelDeployment",
        {"modelRef": {"kind": "Secret", "name": "x"}},
        "spec.modelRef.kind",
    ),
    "a model by a path": (
        "ModelDeployment",
        {"modelRef": {"kind": "TrainingRun", "name": "../x"}},
        "spec.modelRef.name",
    ),
    "a source's Secret by a path": (
        "Dataset",
        {"sources": [{"uri": "s3://b/x.csv", "secretRef": {"name": ELSEWHERE}}]},
        "spec.sources[0].secretRef.name",
    ),
    "a store's Secret by a path": (
        "Dataset",
        {"storage": {"uri": "s3://b/x", "secretRef": {"name": "../x"}}},
        "spec.storage.secretRef.name",
    ),
    "a store's Secret's namespace": (
        "Dataset",
        {"storage": {"uri": "s3://b/x", "secretRef": {"name": "x", "namespace": "kube-system"}}},
        'unknown field "spec.storage.secretRef.namespace"',
    ),
    "a base model's Secret by a path": (
        "TrainingRun",
        {"model": {"base": "s3://b/m", "secretRef": {"name": ELSEWHERE}}},
        "spec.model.secretRef.name",
    ),
}
FILES = (
    "file:///etc/passwd",
    "file:///var/run/kaon/secrets/kaon-store/AWS_SECRET_ACCESS_KEY",
    "file:///var/run/secrets/kubernetes.io/serviceaccount/token",
    "file:///proc/self/environ",
    "file://host/mnt/data/a.csv",
    "file:///mnt",
)


@pytest.mark.parametrize("attempt", REFERENCES)
def test_a_reference_stays_in_its_namespace(team: Team, attempt: str) -> None:
    kind, spec, refusal = REFERENCES[attempt]
    assert refusal in team.refusal(team.resource(kind, "refused", **spec))


def test_a_ready_resource_of_another_team_is_not_found(team: Team, make_team: Any) -> None:
    other: Team = make_team()
    other.made(other.resource("Dataset", "theirs", suspend=True))
    obj = team.made(team.resource("TrainingRun", "wants-theirs", datasetRef={"name": "theirs"}))
    assert ready(obj)["reason"] == "ReferenceNotFound"
    assert f"does not exist in namespace {team.name}" in ready(obj)["message"]


@pytest.mark.parametrize("uri", FILES)
def test_a_file_of_the_pod_itself_is_no_source_no_model_and_no_store(team: Team, uri: str) -> None:
    for kind, spec in (
        ("Dataset", {"sources": [{"uri": uri}], "format": "csv"}),
        ("TrainingRun", {"model": {"base": uri}}),
        ("CompressionJob", {"storage": {"uri": uri}}),
    ):
        assert "should match" in team.refusal(team.resource(kind, "refused", **spec)), f"{kind} {uri}"


def test_the_secrets_of_stores_are_files_of_the_stage_alone_and_never_variables(team: Team) -> None:
    storage = {"uri": "s3://b/x", "secretRef": {"name": "of-the-store"}}
    sources = [{"uri": "s3://b/x.csv", "secretRef": {"name": "of-the-source"}}]
    obj = team.made(team.resource("Dataset", "secrets", storage=storage, sources=sources))
    (pod,) = team.pods(obj)
    volumes = {item["name"]: item["secret"]["secretName"] for item in pod["volumes"] if "secret" in item}
    assert sorted(volumes.values()) == ["kaon-signing", "of-the-source", "of-the-store"]
    (container,) = pod["containers"]
    mounts = [item for item in container["volumeMounts"] if volumes.get(item["name"], "kaon-signing") != "kaon-signing"]
    assert len(mounts) == 2
    assert all(item["readOnly"] and item["mountPath"].startswith("/var/run/kaon/secrets/") for item in mounts)
    assert environment(container).keys() <= set(OWN_VARIABLES)


def test_a_server_has_no_token_and_only_its_fetching_step_has_the_stores_secret(team: Team) -> None:
    obj = team.made(team.resource("ModelDeployment", "served"))
    (pod,) = team.pods(obj)
    assert pod["automountServiceAccountToken"] is False and "serviceAccountName" not in pod
    secrets = {item["name"] for item in pod["volumes"] if "secret" in item}
    assert secrets
    for container in pod["containers"]:
        assert not secrets & {item["name"] for item in container["volumeMounts"]}


# -- identities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in SPECS if kind != "ModelDeployment"])
def test_another_account_runs_nothing_but_kaons_own_stage(team: Team, kind: str) -> None:
    """Where the installation allows it. Its token is of use to nobody: the pod runs the image's program alone."""
    account = f"allowed-{kind.lower()}"
    team.put({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
    template = {"serviceAccountName": account}
    obj = team.made(team.resource(kind, "as-another", podTemplate=template))
    (pod,) = team.pods(obj)
    assert pod["serviceAccountName"] == account
    assert problems(pod, IMAGES.values()) == []
    (container,) = pod["containers"]
    assert container["image"] == IMAGES["jobs"] and "command" not in container
    program = {"Dataset": "dataset", "TrainingRun": "train", "CompressionJob": "compress"}[kind]
    assert container["args"] == [program, "--report", obj["status"]["jobName"]]
    assert environment(container).keys() == set(OWN_VARIABLES)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ({"serviceAccountName": "powerful"}, "serviceAccountName is powerful"),
        ({"serviceAccountName": "default"}, "serviceAccountName is default"),
        ({"priorityClassName": "system-node-critical"}, "priorityClassName is system-node-critical"),
        ({"runtimeClassName": "host"}, "runtimeClassName is host"),
    ],
)
def test_a_placement_that_the_installation_does_not_list_starts_nothing(
    team: Team, template: Object, told: str
) -> None:
    name = f"placed-{next(iter(template.values()))}"
    obj = team.made(team.resource("Dataset", name, podTemplate=template))
    assert ready(obj)["reason"] == "PlacementNotAllowed" and told in ready(obj)["message"]
    assert team.list("Job", f"kaon.dev/owner-uid={obj['metadata']['uid']}") == []


def test_the_stages_of_a_namespace_are_kept_from_metadata_services_and_their_policy_is_not_edited_away(
    team: Team,
) -> None:
    team.made(team.resource("Dataset", "bounded"))
    policy = eventually(lambda: team.get("NetworkPolicy", "kaon.stages"), "the policy of stages")
    blocked = [
        address
        for rule in policy["spec"]["egress"]
        for peer in rule.get("to", ())
        for address in peer.get("ipBlock", {}).get("except", ())
    ]
    assert {"169.254.0.0/16", "fe80::/10"} <= set(blocked)
    team.patch("NetworkPolicy", "kaon.stages", {"spec": {"egress": [{}]}})
    eventually(
        lambda: (team.get("NetworkPolicy", "kaon.stages") or policy)["spec"] == policy["spec"], "the policy as it was"
    )


def test_a_model_serves_without_an_identity_whatever_account_was_named(team: Team) -> None:
    account = {"serviceAccountName": "powerful"}
    obj = team.made(team.resource("ModelDeployment", "no-identity", podTemplate=account, router=account))
    for pod in team.pods(obj):
        assert "serviceAccountName" not in pod and pod["automountServiceAccountToken"] is False


def test_an_account_that_does_not_exist_is_told(team: Team) -> None:
    template = {"serviceAccountName": "nobody"}
    obj = team.made(team.resource("Dataset", "as-nobody", podTemplate=template))
    (pod,) = team.pods(obj)
    assert 'serviceaccount "nobody" not found' in team.admits(pod)
    told = team.until_status("Dataset", "as-nobody", "PodsRefused")
    assert "serviceAccountName" in ready(told)["message"]


@pytest.mark.parametrize("kind", SPECS)
def test_every_pod_passes_pod_security_restricted(team: Team, kind: str) -> None:
    """With everything set that may be set."""
    template = {
        "env": [{"name": "APP_MINE", "value": "x"}],
        "volumes": [{**CLAIM, "mountPath": "/mnt/data", "readOnly": False}],
        "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "runtimeClassName": "sandboxed",
        "priorityClassName": "important",
        "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "1Gi"}},
    }
    router = {"router": template} if kind == "ModelDeployment" else {}
    obj = team.made(team.resource(kind, "everything", podTemplate=template, **router))
    pods = team.pods(obj)
    assert pods and [team.admits(pod) for pod in pods if team.admits(pod)] == []
    assert [found for pod in pods for found in problems(pod, IMAGES.values())] == []
