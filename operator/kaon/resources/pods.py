"""Pod specs: the typed allow-list of kaon.api.podtemplate.PodTemplate applied first, hardening applied last.

Every pod that Kaon makes comes from `pod_spec`, so each passes Pod Security "restricted" whatever a user wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kaon.api.podtemplate import PodTemplate
from kaon.api.quantity import amount
from kaon.contract.digest import short
from kaon.contract.jobspec import SCRATCH_VARIABLE, SECRETS_DIR, WORK_DIR
from kaon.resources import labels
from kaon.resources.base import Images, Object

USER_ID = 65532
"""The user and group of every container; the images are made for it."""
SCRATCH = "ephemeral-storage"
ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3600


def child_labels(obj: Object, component: str, digest: str) -> dict[str, str]:
    """The labels of a child of `obj`. `digest` is the stage's or revision's; its first ten hex digits are the label."""
    return {
        labels.MANAGED_BY: labels.MANAGER,
        labels.COMPONENT: component,
        labels.OWNER_KIND: obj["kind"],
        labels.OWNER_NAME: obj["metadata"]["name"],
        labels.OWNER_UID: obj["metadata"]["uid"],
        labels.DIGEST: short(digest),
    }


def container_security() -> Object:
    """The security context of every container."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def pod_security() -> Object:
    """The security context of every pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def resources_of(template: PodTemplate, requests: Mapping[str, str], limits: Mapping[str, str]) -> Object:
    """The user's requests and limits over default `requests` and `limits`.

    No default stands against what the user set: a default limit is never below a request, a default request never above
    a limit. Scratch space is limited and not reserved: how much a stage needs is not known before.
    """
    asked, bounds = template.resources.requests, dict(template.resources.limits)
    wanted: dict[str, str | int] = {name: quantity for name, quantity in requests.items() if name not in bounds}
    if SCRATCH in limits and SCRATCH not in bounds:
        # Kubernetes would take the limit for the request.
        wanted[SCRATCH] = "0"
    wanted |= asked
    for name, default in limits.items():
        if name not in bounds:
            bounds[name] = max(asked.get(name, default), default, key=amount)
            wanted[name] = min(wanted.get(name, bounds[name]), bounds[name], key=amount)
    return {"requests": wanted, **({"limits": bounds} if bounds else {})}


def scratch_volume(name: str, resources: Object) -> Object:
    """An empty folder on disk that takes no more than the container whose `resources` these are may use."""
    size = resources.get("limits", {}).get(SCRATCH)
    return {"name": name, "emptyDir": {} if size is None else {"sizeLimit": str(size)}}


def scratch_size(resources: Object) -> dict[str, str]:
    """The variable by which a stage knows that size: a pod that takes more is ended, and another one begins again."""
    size = resources.get("limits", {}).get(SCRATCH)
    return {} if size is None else {SCRATCH_VARIABLE: str(int(amount(size)))}


def token_volume() -> tuple[Object, Object]:
    """The token of the pod's account, and where it is mounted: what Kubernetes itself would mount, for an hour.

    The kubelet renews it in time, and it dies with the pod. Who reads it reads it for each call.
    """
    sources: list[Object] = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    volume: Object = {"name": "token", "projected": {"sources": sources, "defaultMode": 0o440}}
    return volume, {"name": "token", "mountPath": ACCOUNT_DIR, "readOnly": True}


def secret_volumes(secrets: Iterable[str]) -> tuple[list[Object], list[Object]]:
    """Volumes and mounts of store Secrets below SECRETS_DIR.

    They are optional for the kubelet: a missing Secret must become a message in a condition, which only a pod that
    starts can give; a pod that waits for a volume says so nowhere but in an event.
    """
    volumes, mounts = [], []
    for index, name in enumerate(sorted(set(secrets))):
        volumes.append(
            {"name": f"secret-{index}", "secret": {"secretName": name, "optional": True, "defaultMode": 0o440}}
        )
        mounts.append({"name": f"secret-{index}", "mountPath": f"{SECRETS_DIR}/{name}", "readOnly": True})
    return volumes, mounts


def claim_volumes(template: PodTemplate) -> tuple[list[Object], list[Object]]:
    """Volumes and mounts of the claims that the user named."""
    volumes, mounts = [], []
    for volume in template.volumes:
        name = f"claim-{volume.name}"
        read_only = volume.read_only is not False
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": volume.persistent_volume_claim}})
        mounts.append({"name": name, "mountPath": volume.mount_path, "readOnly": read_only})
    return volumes, mounts


def environment(template: PodTemplate, own: Mapping[str, Any]) -> list[Object]:
    """The user's literal variables, then Kaon's own, which win. A value is a string or a `valueFrom` source.

    Strings reach the pod as they are: the kubelet replaces $(NAME) and $$ in them, so that each $ is written twice.
    """
    merged: dict[str, Any] = {item.name: item.value for item in template.env} | dict(own)
    if not any("/" in name and amount(count) for name, count in template.resources.limits.items()):
        # Where NVIDIA's runtime is a node's default, an image that says otherwise would see every GPU.
        merged["NVIDIA_VISIBLE_DEVICES"] = "void"
    return [
        {"name": name, "value": value.replace("$", "$$")}
        if isinstance(value, str)
        else {"name": name, "valueFrom": value}
        for name, value in merged.items()
    ]


def scratch_environment() -> dict[str, Any]:
    """Variables that point a program's scratch files to the one writable volume, and tell it its own name."""
    return {
        "HOME": WORK_DIR,
        "TMPDIR": f"{WORK_DIR}/tmp",
        "POD_NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
        "POD_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
    }


def pod_spec(
    template: PodTemplate,
    images: Images,
    *,
    containers: list[Object],
    init_containers: list[Object] | None = None,
    volumes: list[Object],
    service_account: str | None,
    grace_seconds: int,
) -> Object:
    """A pod spec with the user's placement and Kaon's hardening.

    service_account None: the pod gets no identity towards the API server. Else its token is in each of `containers`.
    """
    # Once each: the API server refuses to apply a list that names one twice.
    pull_secrets = dict.fromkeys([*images.pull_secrets, *(ref.name for ref in template.image_pull_secrets)])
    placement: Object = {
        "nodeSelector": dict(template.node_selector) or None,
        "tolerations": [item.wire() for item in template.tolerations] or None,
        "affinity": template.affinity.declared() if template.affinity else None,
        "runtimeClassName": template.runtime_class_name,
        "priorityClassName": template.priority_class_name,
        "imagePullSecrets": [{"name": name} for name in pull_secrets] or None,
    }
    volumes = list(volumes)
    if service_account is not None:
        volume, mount = token_volume()
        volumes.append(volume)
        containers = [{**item, "volumeMounts": [*item.get("volumeMounts", ()), mount]} for item in containers]
    hardened = [{**item, "securityContext": container_security()} for item in containers]
    hardened_init = [{**item, "securityContext": container_security()} for item in init_containers or []]
    return {
        **{name: value for name, value in placement.items() if value is not None},
        **({"serviceAccountName": service_account} if service_account else {}),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": pod_security(),
        **({"initContainers": hardened_init} if hardened_init else {}),
        "containers": hardened,
        **({"volumes": volumes} if volumes else {}),
    }
