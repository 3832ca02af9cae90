"""The pod template: the typed allow-list of what a user may say about pods.

What the API server would refuse of a pod, it refuses of the resource already: that is where its author looks.
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field

from kaon.api.affinity import Affinity
from kaon.api.base import ApiModel, Rule, Rules
from kaon.api.environment import ALLOWED_VARIABLE, REFUSAL
from kaon.api.quantity import amount
from kaon.api.types import (
    DNS_LABEL,
    LABEL_KEY,
    Count,
    LabelKey,
    LabelValue,
    LocalReference,
    Name,
    ObjectName,
    Quantity,
    keys_rule,
    label_keys,
)

MOUNT_PATH = "^/mnt(/[A-Za-z0-9_][-A-Za-z0-9_.]*)+$"


class ResourceRequirements(ApiModel):
    """Kubernetes resource requests and limits; GPUs are `nvidia.com/gpu` under limits."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            f"[has(self.limits) ? self.limits : {{}}, has(self.requests) ? self.requests : {{}}].all(amounts, "
            "amounts.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || name.size() <= 200 && "
            f"name.contains('/') && !name.startsWith('requests.') && name.matches('{LABEL_KEY}')))",
            "a resource is cpu, memory, ephemeral-storage or a device by its full name, such as nvidia.com/gpu",
        ): lambda self: all(_is_resource(name) for name in (*self.limits, *self.requests)),
        Rule(
            "!has(self.limits) || !has(self.requests) || self.requests.all(name, !(name in self.limits) || "
            "quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
            "a request must not be above its limit",
        ): lambda self: all(
            amount(asked) <= amount(self.limits.get(name, asked)) for name, asked in self.requests.items()
        ),
        Rule(
            "!has(self.limits) || self.limits.all(name, "
            "!name.contains('/') || string(self.limits[name]).matches('^[0-9]+$'))",
            "devices such as nvidia.com/gpu are counted in whole numbers",
        ): lambda self: all("/" not in name or str(limit).isdecimal() for name, limit in self.limits.items()),
        Rule(
            "!has(self.requests) || self.requests.all(name, !name.contains('/') || has(self.limits) && "
            "name in self.limits && string(self.limits[name]) == string(self.requests[name]))",
            "devices such as nvidia.com/gpu go under limits; a request for them may be left out or must be the same",
        ): lambda self: all(
            "/" not in name or str(self.limits.get(name)) == str(asked) for name, asked in self.requests.items()
        ),
    }

    limits: dict[str, Quantity] = Field(
        default_factory=dict,
        max_length=16,
        description="Default: the installation's limits of memory and ephemeral-storage, or a request above them.",
    )
    requests: dict[str, Quantity] = Field(default_factory=dict, max_length=16)


def _is_resource(name: str) -> bool:
    if name in ("cpu", "memory", "ephemeral-storage"):
        return True
    return len(name) <= 200 and "/" in name and not name.startswith("requests.") and label_keys((name,))


class Toleration(ApiModel):
    """A Kubernetes toleration."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "has(self.key) || has(self.operator) && self.operator == 'Exists'",
            "a toleration without a key is one of every taint, and must say so: operator: Exists",
        ): lambda self: self.key is not None or self.operator == "Exists",
        Rule(
            "!(has(self.operator) && self.operator == 'Exists') || !has(self.value) || self.value == ''",
            "operator: Exists takes no value",
        ): lambda self: self.operator != "Exists" or not self.value,
        Rule(
            "!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",
            "tolerationSeconds needs effect: NoExecute",
        ): lambda self: self.toleration_seconds is None or self.effect == "NoExecute",
    }

    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: Count | None = None


class EnvVar(ApiModel):
    """A literal environment variable, of those that docs/spec/shared.md lists.

    Values from Secrets are not offered: credentials come by `secretRef`.
    """

    cel_rules: ClassVar[Rules] = {
        Rule(f"self.name.matches('{ALLOWED_VARIABLE}')", REFUSAL): lambda self: bool(
            re.fullmatch(ALLOWED_VARIABLE, self.name)
        )
    }

    name: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    value: str = Field(max_length=4096, description="Taken as it is: $(NAME) is not replaced.")


class Volume(ApiModel):
    """A claim, read-only by default, mounted for `file://` sources and stores."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            f"self.mountPath.matches('{MOUNT_PATH}')",
            "mountPath must be a folder below /mnt/, such as /mnt/data, of letters, digits, '-', '_' and '.'",
        ): lambda self: bool(re.fullmatch(MOUNT_PATH, self.mount_path))
    }

    name: str = Field(min_length=1, max_length=57, pattern=DNS_LABEL)
    persistent_volume_claim: ObjectName = Field(description="Name of a claim in the same namespace.")
    mount_path: str = Field(max_length=256, description="A folder below /mnt/.")
    read_only: bool | None = Field(default=None, description="Default: true.")


class PodTemplate(ApiModel):
    """What may be said about a stage's pods. A typed allow-list: everything else is set, and hardened, by Kaon."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            keys_rule("self.nodeSelector"),
            "a key of nodeSelector is the name of a node's label, such as kubernetes.io/arch",
        ): lambda self: label_keys(self.node_selector),
        Rule(
            "!has(self.volumes) || self.volumes.all(one, self.volumes.exists_one(other, "
            "other.mountPath == one.mountPath))",
            "each volume needs a mountPath of its own",
        ): lambda self: len({volume.mount_path for volume in self.volumes}) == len(self.volumes),
    }

    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    node_selector: dict[str, LabelValue] = Field(default_factory=dict, max_length=32)
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=32, description="Of taints whose keys Kaon's installation allows."
    )
    affinity: Affinity | None = None
    runtime_class_name: ObjectName | None = Field(default=None, description="One that Kaon's installation allows.")
    priority_class_name: ObjectName | None = Field(default=None, description="One that Kaon's installation allows.")
    service_account_name: Name | None = Field(
        default=None,
        description="Default: kaon-job. Another one must be allowed by Kaon's installation, and bound to ClusterRole "
        "kaon-job, or its pods cannot report.",
    )
    image_pull_secrets: list[LocalReference] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    env: list[EnvVar] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    volumes: list[Volume] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
