"""What no pod of Kaon may have, whatever was declared: Pod Security "restricted" and Kaon's own promises. Pure.

The API server is asked too, by a dry run in a namespace that enforces "restricted"; this says more, and says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Object = dict[str, Any]

VOLUMES = frozenset({"emptyDir", "secret", "configMap", "persistentVolumeClaim", "projected"})
HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers", "nodeName", "hostAliases")
ALLOWED_IN_POD = frozenset(
    {
        *("nodeSelector", "tolerations", "affinity", "runtimeClassName", "priorityClassName", "imagePullSecrets"),
        *("serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds"),
        *("securityContext", "initContainers", "containers", "volumes", "restartPolicy", "topologySpreadConstraints"),
        # What the API server fills in.
        *("dnsPolicy", "schedulerName", "serviceAccount"),
    }
)
OWN_VARIABLES = (
    "KAON_SCRATCH_BYTES",
    "HOME",
    "TMPDIR",
    "POD_NAME",
    "POD_NAMESPACE",
    "NVIDIA_VISIBLE_DEVICES",
)
"""Variables that Kaon sets in a stage's pod and in a server's; a user's own of the same name is not taken."""


def problems(pod: Object, images: Iterable[str]) -> list[str]:
    """Everything in a pod's spec that must not be there; `images` are those that the operator was given."""
    return [*_of_pod(pod), *_of_volumes(pod), *(found for each in _containers(pod) for found in _of(each, set(images)))]


def environment(container: Object) -> dict[str, Any]:
    """Variable -> its value, or the source of it."""
    return {item["name"]: item.get("value", item.get("valueFrom", "")) for item in container.get("env", ())}


def _containers(pod: Object) -> Iterator[Object]:
    yield from pod.get("initContainers", ())
    yield from pod["containers"]


def _of_pod(pod: Object) -> Iterator[str]:
    yield from (f"the pod has {name}" for name in HOST_FIELDS if pod.get(name))
    yield from (f"nobody may set {name}" for name in pod.keys() - ALLOWED_IN_POD - set(HOST_FIELDS))
    security = pod.get("securityContext", {})
    wanted = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    yield from _differences("the pod's securityContext", security, wanted)
    if pod.get("enableServiceLinks", True):
        yield "the pod is told of every Service"
    if pod.get("automountServiceAccountToken", True):
        yield "the pod has a token that Kubernetes mounts for longer than an hour"


def _of_volumes(pod: Object) -> Iterator[str]:
    for volume in pod.get("volumes", ()):
        kinds = volume.keys() - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']} is of the kind {', '.join(sorted(kinds))}"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']} takes as much as its node has"
        for source in volume.get("projected", {}).get("sources", ()):
            yield from _of_source(volume["name"], source)


def _of_source(volume: str, source: Object) -> Iterator[str]:
    token = source.get("serviceAccountToken", {})
    if not source.keys() <= {"serviceAccountToken", "configMap", "downwardAPI"}:
        yield f"volume {volume} holds {', '.join(sorted(source))}"
    if token and (token.get("expirationSeconds") != 3600 or token.get("audience")):
        yield f"volume {volume} holds a token other than one of an hour for the API server"
    if source.get("configMap", {}).get("name", "kube-root-ca.crt") != "kube-root-ca.crt":
        yield f"volume {volume} holds another ConfigMap"


def _of(container: Object, images: set[str]) -> Iterator[str]:
    where = f"container {container['name']}"
    if container["image"] not in images:
        yield f"{where} runs {container['image']}, which the operator was not given"
    security = container.get("securityContext", {})
    wanted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    yield from _differences(f"{where}'s securityContext", security, wanted)
    limits = container.get("resources", {}).get("limits", {})
    if "memory" not in limits:  # scratch space is bounded by the sizes of the folders
        yield f"{where} has no limit of memory"
    yield from (f"{where} has {name}" for name in ("envFrom", "volumeDevices", "stdin", "tty") if container.get(name))
    yield from (f"{where} has a host port" for port in container.get("ports", ()) if port.get("hostPort"))
    for name, value in environment(container).items():
        if isinstance(value, Mapping) and value.keys() != {"fieldRef"}:
            yield f"{where} takes {name} from {', '.join(value)}"
    for mount in container.get("volumeMounts", ()):
        if mount.get("subPath") or mount.get("subPathExpr") or mount.get("mountPropagation", "None") != "None":
            yield f"{where} mounts {mount['name']} in a way that leads out of it"
        if ".." in mount["mountPath"].split("/"):
            yield f"{where} mounts {mount['name']} at {mount['mountPath']}"


def _differences(what: str, found: Object, wanted: Object) -> Iterator[str]:
    for name, value in wanted.items():
        if found.get(name) != value:
            yield f"{what} has {name} {found.get(name)!r} and not {value!r}"
    dangerous = {"privileged", "procMount", "runAsUserName", "windowsOptions", "seLinuxOptions", "sysctls"}
    yield from (f"{what} has {name}" for name in dangerous & found.keys() if found[name])
