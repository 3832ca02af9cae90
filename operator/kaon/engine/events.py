"""Kubernetes Events: recorded in the background, best effort, each (UID, reason, message) once in a process's life."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import uuid
from datetime import UTC, datetime

from kaon.api.text import told
from kaon.api.types import REASON_LENGTH
from kaon.controllers.base import EventRecord, Key, Object, key_of
from kaon.engine.client import ApiError, Client, WriteRefusedError
from kaon.engine.logs import about

log = logging.getLogger("kaon.events")

COMPONENT = "kaon.dev/operator"
NOTE_BYTES = 1024
REMEMBERED = 50_000
WAITING = 1_000


class Recorder:
    """Writes Events one after the other."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._told: dict[bytes, None] = {}
        """Hashes: the sentences themselves may be long, and are anybody's."""
        self._waiting: asyncio.Queue[tuple[Key, Object]] = asyncio.Queue(WAITING)

    def record(self, about_obj: Object, event: EventRecord) -> None:
        """Record an event soon, unless it was already told."""
        words = "\0".join((about_obj["metadata"]["uid"], event.reason, event.message))
        known = hashlib.blake2b(words.encode(errors="replace"), digest_size=16).digest()
        if known in self._told:
            return
        self._told[known] = None
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
        key = key_of(about_obj)
        try:
            self._waiting.put_nowait((key, _manifest(about_obj, event)))
        except asyncio.QueueFull:
            log.warning("too many events; one is dropped", extra=about(key, reason=event.reason))

    async def work(self) -> None:
        """Send events for ever."""
        while True:
            key, manifest = await self._waiting.get()
            try:
                await self._client.create(f"/apis/events.k8s.io/v1/namespaces/{key.namespace}/events", manifest)
            except (ApiError, WriteRefusedError) as error:
                log.warning("an event was not recorded", extra=about(key, reason=manifest["reason"], cause=str(error)))


def _manifest(obj: Object, event: EventRecord) -> Object:
    key = key_of(obj)
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{key.name}.{uuid.uuid4().hex[:16]}", "namespace": key.namespace},
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": COMPONENT,
        "reportingInstance": os.uname().nodename,
        "type": event.type,
        "reason": told(event.reason, REASON_LENGTH),
        "action": "Reconcile",
        # A note is bounded in bytes, a message in characters: what is left above the bound is cut off.
        "note": told(event.message, NOTE_BYTES).encode()[:NOTE_BYTES].decode(errors="ignore"),
        "regarding": {
            "apiVersion": obj["apiVersion"],
            "kind": key.kind,
            "namespace": key.namespace,
            "name": key.name,
            "uid": obj["metadata"]["uid"],
        },
    }
