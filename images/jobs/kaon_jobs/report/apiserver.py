"""The one call a pod makes to the API server: merge-patch the status of its Report, or read it. Standard library only.

The service account's token and CA are read anew for each call, because the kubelet rotates them.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kaon.api.base import GROUP, VERSION

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = 10.0
PAUSES_SECONDS = (0.5, 15.0)
"""Between two tries: at first, and at most; each pause is twice as long as the one before."""
MISSING_PATIENCE_SECONDS = 60.0
"""A Report that does not exist for this long is not coming: its resource was deleted."""


class ApiServerError(Exception):
    """A call that failed; `status` is the HTTP status, None when there was no answer."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def retriable(self) -> bool:
        """Whether the same call may succeed later: no answer, too many calls, or the server's own trouble."""
        # 401 too: a token that has just been rotated, or a server that has just started.
        return self.status is None or self.status in (401, 408, 409, 429) or self.status >= 500


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The API server as seen from a pod."""

    host: str
    port: int
    account: Path = ACCOUNT_DIR
    tls: bool = True
    """False only against a plain-HTTP server in tests."""

    def merge_patch_report_status(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """PATCHes reports/status in the pod's own namespace, and returns the Report as it is then.

        An empty `body` changes nothing: it reads the Report, for which a pod has no other right.

        Raises:
            ApiServerError: any answer but success, or none.
        """
        try:
            namespace = (self.account / "namespace").read_text().strip()
            token = (self.account / "token").read_text().strip()
            connection = self._connect()
        except (OSError, ssl.SSLError) as error:
            raise ApiServerError(f"cannot read the service account: {error}", None) from error
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/reports/{name}/status"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
        try:
            connection.request("PATCH", path, json.dumps(body).encode(), headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiServerError(f"the API server does not answer: {error}", None) from error
        finally:
            connection.close()
        if response.status >= 300:
            raise ApiServerError(f"Report {namespace}/{name}: {response.status} {_message(answer)}", response.status)
        try:
            report: dict[str, Any] = json.loads(answer)
        except ValueError as error:
            raise ApiServerError(f"Report {namespace}/{name}: the answer is not JSON: {error}", None) from error
        return report

    def _connect(self) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_SECONDS)
        trust = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
        return http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_SECONDS, context=trust)


def patiently(call: Callable[[], Answer], patience_seconds: float) -> Answer:
    """The answer to a call, which is tried again for so long while another try may help.

    Raises:
        ApiServerError: what was last answered.
    """
    started, (pause, longest) = time.monotonic(), PAUSES_SECONDS
    while True:
        try:
            return call()
        except ApiServerError as error:
            missing = error.status == 404
            patience = min(patience_seconds, MISSING_PATIENCE_SECONDS) if missing else patience_seconds
            if not (error.retriable or missing) or time.monotonic() - started + pause > patience:
                raise
            log.warning("retrying in %.1f s: %s", pause, error)
            time.sleep(pause)
            pause = min(pause * 2, longest)


def in_cluster() -> ApiServer | None:
    """The cluster that this pod runs in; None outside of one, or when no token is mounted."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (ACCOUNT_DIR / "token").exists():
        return None
    return ApiServer(host, int(port))


def _message(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode(errors="replace")
