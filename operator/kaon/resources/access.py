"""The identity of stage pods: ServiceAccount and RoleBinding `kaon-job`, shared by all stages of a namespace."""

from __future__ import annotations

from functools import lru_cache

from kaon.resources import labels
from kaon.resources.base import Child, Object
from kaon.resources.egress import STAGE_POLICY

JOB_IDENTITY = "kaon-job"
SHARED = frozenset({("ServiceAccount", JOB_IDENTITY), ("RoleBinding", JOB_IDENTITY), ("NetworkPolicy", STAGE_POLICY)})
"""Kind and name of what all stages of a namespace share, owned by nobody."""


@lru_cache(maxsize=1024)
def job_access(namespace: str) -> tuple[Child, Child]:
    """The ServiceAccount, and its binding to the ClusterRole that may get and patch Reports and nothing else."""
    metadata = {
        "name": JOB_IDENTITY,
        "namespace": namespace,
        "labels": {labels.MANAGED_BY: labels.MANAGER, labels.COMPONENT: "access"},
    }
    account: Object = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata,
        "automountServiceAccountToken": False,
    }
    binding: Object = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": JOB_IDENTITY},
        "subjects": [{"kind": "ServiceAccount", "name": JOB_IDENTITY, "namespace": namespace}],
    }
    return Child(account, mode="create", owned=False), Child(binding, mode="create", owned=False)
