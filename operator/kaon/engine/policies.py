"""Whether the chart's admission policies are in force, found out by requests that they must refuse.

Each request is a dry run: the API server passes it through admission and stores nothing. To read the policies would say
less (a binding may be missing, or only warn) and needs rights on cluster-scoped objects.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from kaon.controllers.base import Object
from kaon.engine import metrics
from kaon.engine.client import ApiError, Client
from kaon.engine.resources import RESOURCES
from kaon.resources.labels import MANAGED_BY, MANAGER

log = logging.getLogger("kaon.policies")

PROBE = "kaon-policy-probe"
LOOK_SECONDS = 2.0
"""Between two looks before the start: the chart may still be on its way in."""
WATCH_SECONDS = 60.0
TELL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Policy:
    """One of the chart's policies."""

    value: str
    """The chart's value that makes it."""
    holds: str
    """What it holds, for the log."""
    probe: Object
    """An object that it refuses."""
    refusal: str
    """Part of the message of that refusal."""


POLICIES = {
    "reports": Policy(
        value="reportPolicy.enabled",
        holds="a pod may write only its own Report",
        probe={
            "apiVersion": "kaon.dev/v1alpha1",
            "kind": "Report",
            # With the label, or the other policy may be the first to refuse it.
            "metadata": {"name": PROBE, "labels": {MANAGED_BY: MANAGER}},
            "spec": {"stage": "dataset", "jobName": PROBE, "inputDigest": "sha256:" + "0" * 64},
        },
        refusal="the policy on Reports is in force",
    ),
    "operator": Policy(
        value="operatorPolicy.enabled",
        holds="the operator's own account may write only what Kaon makes",
        probe={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PROBE}},
        refusal="the operator writes only objects labelled app.kubernetes.io/managed-by=kaon",
    ),
}


class Policies:
    """The policies that must be in force, in these namespaces."""

    def __init__(self, client: Client, names: Sequence[str], namespaces: Sequence[str]) -> None:
        self._client = client
        self._names = tuple(names)
        self._namespaces = tuple(namespaces)
        self._missing: dict[str, str] = dict.fromkeys(self._names, "not looked at yet")
        for name in self._names:
            metrics.POLICY_IN_FORCE.labels(name).set(0)

    def missing(self) -> str:
        """What is not in force and why; empty when nothing is missing."""
        return "; ".join(
            f"the admission policy on {name} ({POLICIES[name].value}) is not in force: {why}"
            for name, why in self._missing.items()
        )

    async def look(self) -> None:
        """Ask for each policy. One of which the API server says nothing keeps its last answer."""
        for name in self._names:
            try:
                why = await self._why_not(POLICIES[name])
            except ApiError as error:
                log.warning("it is not known whether an admission policy is in force", extra={"cause": str(error)})
                continue
            if why and not self._missing.get(name):
                log.error(
                    f"an admission policy is not in force, so that nothing holds that {POLICIES[name].holds}: {why}"
                )
            self._missing.pop(name, None)
            if why:
                self._missing[name] = why
            metrics.POLICY_IN_FORCE.labels(name).set(0 if why else 1)

    async def until_in_force(self) -> None:
        """Wait until nothing is missing. Says every half minute what is."""
        waited = 0.0
        while True:
            await self.look()
            if not self._missing:
                return
            if waited % TELL_SECONDS == 0:
                log.critical(
                    f"The operator does not begin to work: {self.missing()}. Install the chart's policies (Kubernetes "
                    "1.30 or newer serves them), or set the named value to false: docs/security.md says what does not "
                    "hold then."
                )
            await asyncio.sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS

    async def watch(self) -> None:
        """Look again and again, for ever: a policy may be deleted under a running operator."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.look()

    async def _why_not(self, policy: Policy) -> str:
        """Why a policy is not in force; empty when it is.

        Raises:
            ApiError: the API server does not say.
        """
        resource = RESOURCES[policy.probe["kind"]]
        for namespace in self._namespaces:
            metadata = {**policy.probe["metadata"], "namespace": namespace}
            try:
                await self._client.try_create(resource.path(namespace), {**policy.probe, "metadata": metadata})
            except ApiError as error:
                if policy.refusal in error.message:
                    continue
                if not error.refusal and error.status != 404:
                    raise
                return f"in namespace {namespace} the API server answered something else: {error.message or error}"
            return f"in namespace {namespace} the API server took what the policy must refuse"
        return ""
