"""The command `kaon-operator`: options, logs, a look at the cluster, then the operator. Says what is wrong."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import uvloop
from kubernetes.aio.config import ConfigException

from kaon import __version__
from kaon.api.base import API_VERSION
from kaon.controllers.base import Controller, Object
from kaon.engine import logs, options
from kaon.engine.client import ApiError, Client
from kaon.engine.operator import Operator
from kaon.engine.queue import backoff
from kaon.engine.resources import RESOURCES
from kaon.engine.rootkey import RootKeyUnusable, root_key

log = logging.getLogger("kaon.main")

DEPTH = 50_000
"""Python's limit of recursion. Anybody may write an object 10,000 levels deep (the API server's limit) into some field
that no schema bounds, e.g. managedFields; with the usual limit of 1,000 parsing it would end the process."""
TRIES = 5
"""Of each read before the start: about four seconds altogether."""


class Unusable(Exception):
    """The cluster cannot be worked with as it is; the message says what to do."""


def main(arguments: Sequence[str] | None = None, controllers: Sequence[Controller] | None = None) -> None:
    """Run the operator and exit."""
    told = options.parse(sys.argv[1:] if arguments is None else arguments, os.environ)
    logs.configure(told.log_format, told.log_level)
    sys.setrecursionlimit(DEPTH)
    if controllers is None:
        from kaon.controllers.registry import CONTROLLERS

        controllers = CONTROLLERS
    log.info("starting", extra={"version": __version__, "namespaces": ",".join(told.namespaces) or "all"})
    try:
        code = uvloop.run(run(told, controllers))
    except Unusable as error:
        log.critical(str(error))
        code = 1
    except KeyboardInterrupt:
        code = 130
    logging.shutdown()
    sys.exit(code)


async def run(told: argparse.Namespace, controllers: Sequence[Controller]) -> int:
    """Connect, look, and run until the end.

    Raises:
        Unusable: there is no usable cluster.
    """
    try:
        client = await Client.connect()
    except (ConfigException, OSError) as error:
        raise Unusable(
            f"There is no way to a cluster: {error}. Run in a pod with a service account, or set KUBECONFIG."
        ) from error
    try:
        await _preflight(client, told.namespaces, [controller.kind for controller in controllers])
        key = await root_key(client, told)
        return await Operator(told, controllers, client, key).run()
    except RootKeyUnusable as error:
        raise Unusable(str(error)) from error
    finally:
        await client.close()


async def _preflight(client: Client, namespaces: tuple[str, ...], kinds: Sequence[str]) -> None:
    """Whether the API server answers, and the kinds may be listed. One that is not served may yet come."""
    host = client.configuration.host
    wanted = {RESOURCES[kind].plural for kind in kinds} | {RESOURCES["Report"].plural}
    for scope in namespaces or (None,):
        for plural in sorted(wanted):
            try:
                path = f"/apis/{API_VERSION}/{f'namespaces/{scope}/' if scope else ''}{plural}"
                await _patiently(client, path, limit=1)
            except ApiError as error:
                if error.status == 404:
                    continue
                if error.status != 403:
                    raise _unusable(error, host) from error
                raise Unusable(
                    f"The operator may not list {plural} {f'in namespace {scope}' if scope else 'in all namespaces'}: "
                    "install the chart's RBAC for its service account"
                    + ("." if scope else ", or set --namespaces to those where it has a Role.")
                ) from error


async def _patiently(client: Client, path: str, **query: Any) -> Object:
    """A read that outlasts a moment in which the API server is busy or just starting."""
    for failures in range(1, TRIES):
        try:
            return await client.get(path, **query)
        except ApiError as error:
            if error.status not in (0, 429) and error.status < 500:
                raise
            await asyncio.sleep(max(backoff(failures), error.retry_after or 0.0))
    return await client.get(path, **query)


def _unusable(error: ApiError, host: str) -> Unusable:
    if error.status == 401:
        return Unusable(f"The API server {host} does not accept the credentials: renew the token or the kubeconfig.")
    if error.status == 0:
        return Unusable(f"The API server {host} cannot be reached: {error.message}. Check the address and the network.")
    return Unusable(f"The API server {host} refused: {error}")


if __name__ == "__main__":
    main()
