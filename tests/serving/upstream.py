"""An HTTP server that speaks V2 with the handler's own code, for tests that need the router alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from serving.run import Expected

from kaon_jobs.runtime import v2

LATE = "late"
"""A text that is answered after a while."""


class Upstream(ThreadingHTTPServer):
    """Keeps what it had to refuse: nothing, when the router has done its work."""

    daemon_threads = True

    def __init__(self, expected: Expected) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.expected = expected
        self.asked: list[tuple[str, str]] = []
        """Method and path of each request."""
        self.refused: list[tuple[str, bytes]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(("GET", self.path))
        self._answer(200, b"{}")

    def do_POST(self) -> None:
        self.server.asked.append(("POST", self.path))
        body, expected = self.rfile.read(int(self.headers["content-length"])), self.server.expected
        try:
            inference = v2.parse(body, expected.signature, expected.max_batch_size)
        except v2.Refusal as refusal:
            self.server.refused.append((str(refusal), body))
            # As Triton does.
            self._answer(500, json.dumps({"error": str(refusal)}).encode())
            return
        if LATE in inference.rows:
            time.sleep(1)
        values = expected.predict(inference.rows)
        self._answer(200, json.dumps(v2.answer("m", inference, expected.signature, values)).encode())

    def _answer(self, status: int, body: bytes) -> None:
        # The router has closed the connection when an answer comes too late.
        with suppress(ConnectionError):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@contextmanager
def upstream(expected: Expected) -> Iterator[Upstream]:
    """The server, while the block runs."""
    with Upstream(expected) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            found.shutdown()
            thread.join()
