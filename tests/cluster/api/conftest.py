"""Dry-run creation of resources through the official client: what `kubectl apply --dry-run=server` does, but faster."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from kaon.api.schema import KINDS
from localcluster import Cluster

sys.path.insert(0, str(Path(__file__).parent))

DryRun = Callable[..., str]


@pytest.fixture(scope="session")
def dry_run(api_cluster: Cluster) -> DryRun:
    """dry_run(kind, spec, name="x"): the API server's refusal, or "" when it would take the resource."""
    connection = config.new_client_from_config(str(api_cluster.kubeconfig))
    api = client.CustomObjectsApi(connection)
    plurals = {kind.kind: kind.plural for kind in KINDS}

    def create(kind: str, spec: dict[str, Any], name: str = "x") -> str:
        body = {"apiVersion": "kaon.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        try:
            api.create_namespaced_custom_object(
                "kaon.dev", "v1alpha1", "default", plurals[kind], body, dry_run="All", field_validation="Strict"
            )
        except ApiException as error:
            assert error.status in (400, 422), error
            message: str = json.loads(error.body or "{}")["message"]
            return message
        return ""

    return create
