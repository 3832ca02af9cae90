"""Init container of the embedded store: makes its bucket, and the Secrets with its credentials.

A chart cannot make credentials: what is random at one rendering is another thing at the next. So the store's own pod
does, once: it creates the Secret in the store's namespace and copies it to the others. It never changes a Secret that
is there. Each Secret is owned by the chart's Role `kaon-store` of its namespace, so that it goes with the chart.
"""

from __future__ import annotations

import argparse
import base64
import logging
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

log = logging.getLogger("kaon.storeinit")

OWNER_ROLE = "kaon-store"


def credentials(endpoint: str) -> dict[str, str]:
    """New options of the store, under the names that its clients read."""
    return {
        "AWS_ACCESS_KEY_ID": f"kaon{secrets.token_hex(8)}",
        "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(32),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


class Cluster:
    """The Secrets of one name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._core = client.CoreV1Api()
        self._rbac = client.RbacAuthorizationV1Api()

    def read(self, namespace: str) -> dict[str, str] | None:
        """The Secret's values; None when there is none."""
        try:
            found = self._core.read_namespaced_secret(self._name, namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return {key: base64.b64decode(value).decode() for key, value in (found.data or {}).items()}

    def create(self, namespace: str, values: Mapping[str, str]) -> bool:
        """Creates the Secret, owned by the Role of the same namespace. False when another was faster."""
        role = self._rbac.read_namespaced_role(OWNER_ROLE, namespace)
        assert role.metadata is not None  # only an object that was never stored has none
        owner = client.V1OwnerReference(
            api_version="rbac.authorization.k8s.io/v1", kind="Role", name=role.metadata.name, uid=role.metadata.uid
        )
        labels = {"app.kubernetes.io/part-of": "kaon", "app.kubernetes.io/component": "store"}
        metadata = client.V1ObjectMeta(name=self._name, labels=labels, owner_references=[owner])
        body = client.V1Secret(metadata=metadata, string_data=dict(values))
        try:
            self._core.create_namespaced_secret(namespace, body)
        except ApiException as error:
            if error.status == 409:
                return False
            raise
        return True


def provide(cluster: Cluster, endpoint: str, namespaces: Sequence[str]) -> None:
    """The Secret in every namespace; the first one is the store's own, and what it says holds."""
    home, *others = namespaces
    values = cluster.read(home)
    if values is None:
        values = credentials(endpoint)
        if cluster.create(home, values):
            log.info(f"created the credentials in {home}")
        else:
            values = cluster.read(home) or values
    for namespace in others:
        found = cluster.read(namespace)
        if found is None and cluster.create(namespace, values):
            log.info(f"created the credentials in {namespace}")
        elif found is not None and found != values:
            log.warning(
                f"the Secret in {namespace} is not this store's and was left as it is; "
                "if it is a leftover, delete it and restart the store's pod"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs once in the init container; fails with the API server's answer, so that the kubelet tries again."""
    parser = argparse.ArgumentParser(prog="python -m kaon.storeinit", description="Prepare the embedded store.")
    parser.add_argument("--secret", required=True, help="name of the Secret")
    parser.add_argument("--endpoint", required=True, help="URL of the store, for its clients")
    parser.add_argument("--namespace", action="append", required=True, help="the store's own first, then the others")
    parser.add_argument("--bucket-folder", type=Path, required=True, help="folder of the bucket on the store's volume")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.bucket_folder.mkdir(parents=True, exist_ok=True)
    config.load_config()  # type: ignore[no-untyped-call]
    try:
        provide(Cluster(options.secret), options.endpoint, list(dict.fromkeys(options.namespace)))
    except ApiException as error:
        # Not the traceback: it holds the request, and the request holds the credentials.
        log.error(f"the API server answered {error.status} {error.reason}: {error.body}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
