"""The few calls to the API server that bringing a cluster up needs; standard library only."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from localcluster.errors import LocalClusterError


class Api:
    """An administrator's connection to one API server."""

    def __init__(self, url: str, pki: Path) -> None:
        self.url = url
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """Sends one request; the answer is parsed when it is JSON, text otherwise. Failures raise."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": content_type}, method=method)
        # A proxy of the host knows nothing about the cluster's addresses: never ask it.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls)
        )
        try:
            with opener.open(request, timeout=10) as response:
                text = response.read().decode()
        except urllib.error.HTTPError as error:
            raise LocalClusterError(f"{method} {path}: {error.code} {error.read().decode()[:500]}") from error
        except (urllib.error.URLError, OSError) as error:
            raise LocalClusterError(f"{method} {path}: {error}") from error
        return json.loads(text) if text.startswith(("{", "[")) else text

    def apply(self, path: str, manifest: dict[str, Any]) -> None:
        """Server-side apply: safe to repeat."""
        query = "?fieldManager=localcluster&force=true"
        self.request("PATCH", path + query, manifest, "application/apply-patch+yaml")

    def healthy(self, path: str = "/readyz") -> bool:
        try:
            return bool(self.request("GET", path) == "ok")
        except LocalClusterError:
            return False
