"""The Secrets of the embedded store: the root's in its own namespace, and one in each namespace that it serves.

Each is owned by the chart's Role `kaon-store` of its namespace, so that it goes with the chart or with the namespace's
entry in its values. A Secret of that name that somebody else made is left as it is. Touches the API server.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping

from kubernetes import client
from kubernetes.client.exceptions import ApiException

log = logging.getLogger("kaon.storeinit")

OWNER_ROLE = "kaon-store"
LABELS = {"app.kubernetes.io/part-of": "kaon", "app.kubernetes.io/component": "store"}


class Cluster:
    """The Secrets of one name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._core = client.CoreV1Api()
        self._rbac = client.RbacAuthorizationV1Api()

    def read(self, namespace: str) -> dict[str, str] | None:
        """The Secret's values; None when there is none."""
        found = self._find(namespace)
        return None if found is None else _values(found)

    def create(self, namespace: str, values: Mapping[str, str]) -> bool:
        """Creates the Secret, owned by the Role of the same namespace. False when another was faster."""
        role = self._rbac.read_namespaced_role(OWNER_ROLE, namespace)
        assert role.metadata is not None  # only an object that was never stored has none
        owner = client.V1OwnerReference(
            api_version="rbac.authorization.k8s.io/v1", kind="Role", name=role.metadata.name, uid=role.metadata.uid
        )
        metadata = client.V1ObjectMeta(name=self._name, labels=LABELS, owner_references=[owner])
        try:
            self._core.create_namespaced_secret(namespace, client.V1Secret(metadata=metadata, string_data=dict(values)))
        except ApiException as error:
            if error.status == 409:
                return False
            raise
        return True

    def ensure(self, namespace: str, values: Mapping[str, str]) -> None:
        """Makes the Secret hold these values; one that is not this store's is left as it is, and the log says so."""
        found = self._find(namespace)
        if found is None:
            if self.create(namespace, values):
                log.info(f"created the Secret {self._name} in {namespace}")
                return
            found = self._find(namespace)
            if found is None:
                raise RuntimeError(f"the Secret {self._name} in {namespace} appears and disappears; restart the pod")
        metadata = found.metadata
        assert metadata is not None
        if any((metadata.labels or {}).get(name) != value for name, value in LABELS.items()):
            log.warning(
                f"the Secret {self._name} in {namespace} is not this store's and was left as it is; "
                "if it is a leftover, delete it and restart the store's pod"
            )
        elif _values(found) != dict(values):
            # With the version that was read, so that a change in between is an error and the pod tries again.
            found.data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
            self._core.replace_namespaced_secret(self._name, namespace, found)
            log.info(f"wrote new values into the Secret {self._name} in {namespace}")

    def _find(self, namespace: str) -> client.V1Secret | None:
        try:
            return self._core.read_namespaced_secret(self._name, namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise


def _values(secret: client.V1Secret) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in (secret.data or {}).items()}
