"""One leader by a coordination.k8s.io Lease, and the fence that stops writes when the lease may have run out.

Another process takes the lease when it saw no renewal for LEASE_SECONDS by its own clock. This one stops writing
DEADLINE_SECONDS after its last renewal by its own monotonic clock, which runs on while the process is stopped; so it
has fallen silent before anybody else can lead. No two clocks are ever compared.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from kaon.controllers.base import Object
from kaon.engine.client import ApiError, Client

log = logging.getLogger("kaon.lease")

LEASE_SECONDS = 15
DEADLINE_SECONDS = 10.0
RETRY_SECONDS = 2.0
MOMENT_SECONDS = 0.05


class Lease:
    """This process's claim to be the leader."""

    def __init__(self, client: Client, namespace: str, name: str) -> None:
        self._client = client
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name, self._namespace = name, namespace
        self.identity = f"{os.uname().nodename}_{uuid.uuid4().hex[:8]}"
        self._valid_until = 0.0
        self._record: Object | None = None
        """The lease as last read or written."""
        self._seen = 0.0
        """When `_record` last changed, by the monotonic clock."""

    def held(self) -> bool:
        """Whether this process is the leader now."""
        return time.monotonic() < self._valid_until

    async def acquire(self) -> None:
        """Wait until this process is the leader."""
        log.info(f"waiting for the lease {self._namespace}/{self._name} as {self.identity}")
        while True:
            if await self._try():
                break
            await asyncio.sleep(min(RETRY_SECONDS * random.uniform(0.8, 1.2), self._runs_out_in()))
        log.info(f"leading as {self.identity}")

    async def keep(self) -> None:
        """Renew until that fails for too long; then return. Whoever called it must end the process."""
        while self.held():
            await asyncio.sleep(RETRY_SECONDS)
            if not self.held() or (not await self._try() and self._taken()):
                break
        log.error("the lease is lost: this process ends, so that only one leads")

    async def release(self) -> None:
        """Let a standby lead at once, instead of after LEASE_SECONDS."""
        if not self.held() or self._record is None:
            return
        self._valid_until = 0.0
        body = self._body(holder="", seconds=1)
        try:
            await self._put(body, seconds=2.0)
        except ApiError as error:
            log.warning("the lease was not released; it runs out by itself", extra={"cause": str(error)})

    def _taken(self) -> bool:
        holder = (self._record or {}).get("spec", {}).get("holderIdentity")
        if holder not in (None, "", self.identity):
            self._valid_until = 0.0
        return not self.held()

    async def _try(self) -> bool:
        """One attempt to take or renew the lease."""
        started = time.monotonic()
        try:
            if self._record is None or not self.held():
                await self._read()
            if self._record is None:
                answer = await self._client.send("POST", self._collection, self._body(self.identity), 5.0)
                self._remember(answer)
            elif self._free() or self._mine():
                await self._put(self._body(self.identity), seconds=5.0)
            else:
                return False
        except ApiError as error:
            if error.status == 403:
                log.error(f"not allowed to use leases in namespace {self._namespace}: {error.message}")
            elif error.status != 409:
                log.warning("the lease was not renewed", extra={"cause": str(error)})
            elif self.held():
                await self._reread()
            return False
        self._valid_until = started + DEADLINE_SECONDS
        return True

    async def _reread(self) -> None:
        try:
            await self._read()
        except ApiError as error:
            log.warning("the lease was not read", extra={"cause": str(error)})

    async def _read(self) -> None:
        try:
            self._remember(await self._client.get(f"{self._collection}/{self._name}"))
        except ApiError as error:
            if error.status != 404:
                raise
            self._record = None

    def _remember(self, record: Object) -> None:
        if self._record is None or record["metadata"]["resourceVersion"] != self._record["metadata"]["resourceVersion"]:
            self._seen = time.monotonic()
        self._record = record

    def _mine(self) -> bool:
        return self._spec().get("holderIdentity") == self.identity

    def _free(self) -> bool:
        spec = self._spec()
        seconds = spec.get("leaseDurationSeconds", LEASE_SECONDS)
        return not spec.get("holderIdentity") or time.monotonic() > self._seen + seconds

    def _runs_out_in(self) -> float:
        """Seconds until the lease that somebody else holds runs out unless it is renewed; not less than a moment."""
        left = self._seen + self._spec().get("leaseDurationSeconds", LEASE_SECONDS) - time.monotonic()
        return left + MOMENT_SECONDS if left > 0 else RETRY_SECONDS

    def _spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = (self._record or {}).get("spec", {})
        return spec

    async def _put(self, body: Object, seconds: float) -> None:
        # The resource version in the body makes it a compare-and-swap.
        self._remember(await self._client.send("PUT", f"{self._collection}/{self._name}", body, seconds))

    def _body(self, holder: str, seconds: int = LEASE_SECONDS) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = self._spec()
        renewed = before.get("holderIdentity") == holder
        metadata: Object = {"name": self._name, "namespace": self._namespace}
        if self._record is not None:
            metadata["resourceVersion"] = self._record["metadata"]["resourceVersion"]
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": seconds,
                "acquireTime": before.get("acquireTime", now) if renewed else now,
                "renewTime": now,
                "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if renewed or not holder else 1),
            },
        }
