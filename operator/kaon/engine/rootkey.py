"""The root key of an installation, of which the keys of all trust domains are derived: read at the start, or made.

It lies in one Secret in the operator's own namespace, the only one that the operator may read. Losing it means that no
stored artifact can be verified any more, so it is never overwritten and outlives the chart.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import logging
import secrets
from pathlib import Path

from kaon.contract.signing import ROOT_KEY_BYTES
from kaon.engine.client import ApiError, Client
from kaon.engine.options import lease_namespace
from kaon.engine.queue import backoff
from kaon.engine.resources import RESOURCES
from kaon.resources.labels import COMPONENT, MANAGED_BY, MANAGER

log = logging.getLogger("kaon.rootkey")

KEY = "root.key"
TRIES = 5


class RootKeyUnusable(Exception):
    """There is no root key; the message says what to do."""


async def root_key(client: Client, options: argparse.Namespace) -> bytes:
    """The root key: from a file when one is named, else from the Secret, which is made when there is none.

    Raises:
        RootKeyUnusable: it cannot be read or made, or is not ROOT_KEY_BYTES bytes in hex.
    """
    if options.root_key_file:
        try:
            text = await asyncio.to_thread(Path(options.root_key_file).read_text)
        except OSError as error:
            raise RootKeyUnusable(f"The root key cannot be read: {error}. Check --root-key-file.") from error
        return _parsed(text, options.root_key_file)
    namespace, name = lease_namespace(options), options.root_key_secret
    for failures in range(1, TRIES + 1):
        try:
            return await _from_secret(client, namespace, name)
        except ApiError as error:
            passing = error.status in (0, 409, 429) or error.status >= 500
            if not passing or failures == TRIES:
                raise RootKeyUnusable(
                    f"The root key in the Secret {namespace}/{name} can neither be read nor made: {error}. The "
                    "operator needs get on this Secret and create on Secrets in its own namespace; the chart's RBAC "
                    "has both."
                ) from error
            await asyncio.sleep(backoff(failures))
    raise AssertionError("unreachable")


async def _from_secret(client: Client, namespace: str, name: str) -> bytes:
    secret = RESOURCES["Secret"]
    try:
        found = await client.get(secret.path(namespace, name))
    except ApiError as error:
        if error.status != 404:
            raise
        made = secrets.token_hex(ROOT_KEY_BYTES)
        found = await client.create(
            secret.path(namespace),
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "Opaque",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": {MANAGED_BY: MANAGER, COMPONENT: "trust"},
                },
                "data": {KEY: base64.b64encode(made.encode()).decode()},
            },
        )
        log.warning(
            "made a root key; back it up: without it no stored artifact can be verified",
            extra={"namespace": namespace, "secret": name},
        )
    try:
        text = base64.b64decode((found.get("data") or {}).get(KEY, ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RootKeyUnusable(f"{KEY} of the Secret {namespace}/{name} is no text.") from error
    return _parsed(text, f"{KEY} of the Secret {namespace}/{name}")


def _parsed(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError as error:
        raise RootKeyUnusable(f"The root key in {where} is not hex digits.") from error
    if len(key) != ROOT_KEY_BYTES:
        raise RootKeyUnusable(
            f"The root key in {where} has {len(key)} bytes; it must have {ROOT_KEY_BYTES} (as hex digits). Make one "
            f"with `openssl rand -hex {ROOT_KEY_BYTES}`."
        )
    return key
