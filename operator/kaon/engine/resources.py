"""The one table of kinds that the engine handles: how each is addressed at the API server. Pure data.

A kind that is not here cannot be a child. Optional kinds belong to other projects: they are watched and applied only
while the cluster serves them, which controllers see as `Observed.capabilities`.
"""

from __future__ import annotations

from dataclasses import dataclass

from kaon.api.base import API_VERSION


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind and its place at the API server. Every kind that Kaon handles is namespaced."""

    kind: str
    api_version: str
    plural: str
    managed: bool = True
    """Whether it can be a planned child. False: only read."""
    optional: bool = False

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def root(self) -> str:
        """The path of the group and version: the discovery document."""
        return f"/{'apis' if self.group else 'api'}/{self.api_version}"

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The path of a collection (all namespaces when `namespace` is None), an object, or its subresource."""
        parts = [self.root, f"namespaces/{namespace}" if namespace else "", self.plural, name, subresource]
        return "/".join(part for part in parts if part)


CUSTOM = (
    Resource("Dataset", API_VERSION, "datasets"),
    Resource("TrainingRun", API_VERSION, "trainingruns"),
    Resource("CompressionJob", API_VERSION, "compressionjobs"),
    Resource("ModelDeployment", API_VERSION, "modeldeployments"),
)
"""What users write. Watched through kopf, and only where there is a controller."""

CHILDREN = (
    Resource("Report", API_VERSION, "reports"),
    Resource("Job", "batch/v1", "jobs"),
    Resource("Pod", "v1", "pods", managed=False),
    Resource("Deployment", "apps/v1", "deployments"),
    Resource("Service", "v1", "services"),
    Resource("ConfigMap", "v1", "configmaps"),
    Resource("ServiceAccount", "v1", "serviceaccounts"),
    Resource("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings"),
    Resource("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
    Resource("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
    Resource("PodMonitor", "monitoring.coreos.com/v1", "podmonitors", optional=True),
    Resource("PrometheusRule", "monitoring.coreos.com/v1", "prometheusrules", optional=True),
)
"""What Kaon makes, and the pods that follow from it. Watched by label (see watch.py)."""

PROVIDED = (Resource("Secret", "v1", "secrets", managed=False),)
"""What Kaon creates and may not read."""

RESOURCES = {resource.kind: resource for resource in (*CUSTOM, *CHILDREN, *PROVIDED)}
