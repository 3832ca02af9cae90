"""The API server as the command line sees it: list, get, watch and the service proxy, with errors people can act on.

Does I/O, decides nothing. Needs a kubeconfig and read access only: no operator, no pod and no store is dialled.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from kaon.api.base import GROUP, VERSION
from kaon.cli.errors import CliError, ConnectionLost

Object = dict[str, Any]
PLURALS = {
    "Dataset": "datasets",
    "TrainingRun": "trainingruns",
    "CompressionJob": "compressionjobs",
    "ModelDeployment": "modeldeployments",
}
WATCH_SECONDS = 240
READ_SECONDS = 30
PATIENCE_SECONDS = 10
BUSY = (429, 500, 502, 503, 504)


class Answer(NamedTuple):
    """What came back of one request."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class WatchExpired(Exception):
    """The API server no longer keeps the version asked for: list again."""


@dataclass(frozen=True)
class Cluster:
    """A connection. `client` is a kubernetes ApiClient, which the package leaves untyped."""

    client: Any
    host: str
    namespace: str

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        timeout: float = READ_SECONDS,
    ) -> Answer:
        """One request; any status is an Answer. A server that asks for patience (429) gets it, for some seconds.

        Raises:
            ConnectionLost: the API server did not answer.
        """
        for patience in range(PATIENCE_SECONDS, -1, -1):
            response = self._send(method, path, query, body, timeout)
            try:
                answer = Answer(response.status, response.headers, bytes(response.data))
            except _transport_errors() as error:
                raise self._unreachable(error) from error
            if answer.status != 429 or not patience:
                break
            time.sleep(1)
        return answer

    def list(self, kind: str, namespace: str) -> tuple[list[Object], str]:
        """All objects of a kind and the version to watch from."""
        found = self._read(kind, namespace, "")
        return [{**item, "kind": kind} for item in found["items"]], found["metadata"]["resourceVersion"]

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """One object.

        Raises:
            CliError: it does not exist (the message offers names that are near), or may not be read.
        """
        answer = self.request("GET", _path(kind, namespace, name))
        if answer.status == 404:
            names = sorted(item["metadata"]["name"] for item in self.list(kind, namespace)[0])
            raise not_found(kind, namespace, name, names)
        return _checked(answer, kind, namespace)

    def watch(self, kind: str, namespace: str, version: str) -> Iterator[tuple[str, Object]]:
        """Events (type, object) after `version` until the server ends the watch, bookmarks included.

        Raises:
            WatchExpired: the version is too old.
            ConnectionLost: the connection broke.
        """
        query: dict[str, str | int] = {
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": WATCH_SECONDS,
            "allowWatchBookmarks": "true",
        }
        # A little more than the server's own limit: a connection that died silently is noticed.
        response = self._send("GET", _path(kind, namespace, ""), query, None, WATCH_SECONDS + 30)
        try:
            if response.status != 200:
                answer = Answer(response.status, response.headers, bytes(response.data))
                if answer.status == 410:
                    raise WatchExpired
                _checked(answer, kind, namespace)
            yield from _events(response.stream(amt=None, decode_content=False), kind)
        except _transport_errors() as error:
            raise self._unreachable(error) from error
        finally:
            response.close()

    def _read(self, kind: str, namespace: str, name: str) -> Object:
        return _checked(self.request("GET", _path(kind, namespace, name)), kind, namespace)

    def _send(self, method: str, path: str, query: Mapping[str, str | int] | None, body: Any, timeout: float) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            request = self.client.param_serialize(
                method, path, query_params=list((query or {}).items()), header_params=headers, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            return self.client.call_api(*request, _request_timeout=(10, timeout)).response
        except _transport_errors() as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ConnectionLost:
        return ConnectionLost(
            f"no answer from the API server at {self.host}: {_cause(error)}",
            "Is the cluster up, and does KUBECONFIG name the right one? `kubectl cluster-info` tells the same way.",
        )


def connect(kubeconfig: str | None = None, context: str | None = None) -> Cluster:
    """Opens a kubeconfig (the given one, $KUBECONFIG, ~/.kube/config) or, in a pod, the service account.

    Raises:
        CliError: there is none, or it cannot be read.
    """
    # Late and by name: the package takes a second to import, and `kaon version` must not wait for it.
    client = importlib.import_module("kubernetes.client")
    config = importlib.import_module("kubernetes.config")
    settings = client.Configuration()
    # Retries are the watch's own business; a command should say at once that nobody answers.
    settings.retries = False
    namespace = "default"
    try:
        config.load_kube_config(config_file=kubeconfig, context=context, client_configuration=settings)
        contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)
        chosen = next((entry for entry in contexts if entry["name"] == context), active)
        namespace = chosen["context"].get("namespace") or namespace
    except config.ConfigException as error:
        try:
            if kubeconfig or context:
                raise config.ConfigException from error
            config.load_incluster_config(client_configuration=settings)
        except config.ConfigException:
            raise CliError(
                f"no cluster: {error}", "Set KUBECONFIG or --kubeconfig to the kubeconfig of a cluster you may read."
            ) from error
    except OSError as error:
        raise CliError(f"the kubeconfig cannot be read: {error}", "Set KUBECONFIG or --kubeconfig.") from error
    return Cluster(client.ApiClient(settings), settings.host, namespace)


def not_found(kind: str, namespace: str, name: str, names: list[str]) -> CliError:
    """The error for a name that is not there: near names first, else all of them, else what to do."""
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        hint = f"Did you mean {' or '.join(near)}?"
    elif names:
        hint = f"There are: {', '.join(names[:10])}{' …' if len(names) > 10 else ''}."
    else:
        hint = f"There is no {kind} in this namespace at all; -n chooses another one."
    return CliError(f"{kind} {name!r} is not in namespace {namespace}", hint)


def _path(kind: str, namespace: str, name: str) -> str:
    folder = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURALS[kind]}"
    return f"{folder}/{name}" if name else folder


def _checked(answer: Answer, kind: str, namespace: str) -> Object:
    """The body of a good answer; a bad one becomes the sentence that helps."""
    if answer.status == 200:
        body: Object = json.loads(answer.body)
        return body
    said = message_of(answer)
    if answer.status == 401:
        raise CliError(f"the API server does not accept these credentials: {said}", "Log in to the cluster again.")
    if answer.status == 403:
        hint = f"Ask for the role `view` in namespace {namespace}; Kaon's chart adds its kinds to it."
        raise CliError(f"not allowed: {said}", hint)
    if answer.status == 404:
        hint = "Install Kaon first: helm install kaon charts/kaon -n kaon-system --create-namespace"
        raise CliError(f"this cluster does not know {kind} ({GROUP}/{VERSION})", hint)
    problem = f"the API server answered {answer.status}: {said}"
    raise ConnectionLost(problem) if answer.status in BUSY else CliError(problem)


def message_of(answer: Answer) -> str:
    """The message of a Kubernetes Status, the error of a router, or the start of whatever came."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        return answer.body[:300].decode(errors="replace").strip()
    return str(body.get("message") or body.get("error") or body) if isinstance(body, dict) else str(body)


def _events(chunks: Iterator[bytes], kind: str) -> Iterator[tuple[str, Object]]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in filter(None, lines):
            event = json.loads(line)
            if event["type"] == "ERROR":
                if event["object"].get("code") == 410:
                    raise WatchExpired
                raise ConnectionLost(f"the watch ended: {event['object'].get('message')}")
            yield event["type"], {**event["object"], "kind": kind}


def _transport_errors() -> tuple[type[Exception], ...]:
    errors: tuple[type[Exception], ...] = (importlib.import_module("urllib3.exceptions").HTTPError, OSError)
    # The client turns TLS errors into its own exception with status 0.
    return (*errors, importlib.import_module("kubernetes.client").ApiException)


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error).split("\n")[0]
