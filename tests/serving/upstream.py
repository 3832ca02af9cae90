"""An HTTP server that speaks V2 with the handler's own code, for tests that need the router alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from serving.run import Predict
from tests.unit.jobs.serve import tiny

from kaon_jobs.runtime import v2

LATE = "late"
"""A text that is answered after a while."""


class Upstream(ThreadingHTTPServer):
    """Keeps what it had to refuse: nothing, when the router has done its work."""

    daemon_threads = True

    def __init__(self, predict: Predict, max_batch_size: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.predict = predict
        self.max_batch_size = max_batch_size
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
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            inference = v2.parse(body, self.server.max_batch_size)
        except v2.Refusal as refusal:
            self.server.refused.append((str(refusal), body))
            # As Triton does.
            self._answer(500, json.dumps({"error": str(refusal)}).encode())
            return
        if LATE in inference.texts:
            time.sleep(1)
        rows = self.server.predict(inference.texts)
        labels = [tiny.LABELS[row.index(max(row))] for row in rows]
        self._answer(200, json.dumps(v2.answer("m", inference, labels, rows)).encode())

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
def upstream(predict: Predict, max_batch_size: int) -> Iterator[Upstream]:
    """The server, while the block runs."""
    with Upstream(predict, max_batch_size) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            found.shutdown()
            thread.join()
