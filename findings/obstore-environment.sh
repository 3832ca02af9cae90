#!/usr/bin/env bash
# obstore: a variable of the environment outranks the endpoint that the program names in its own configuration.
#
# Seen with obstore 0.12.1: an S3Store whose config says AWS_ENDPOINT_URL reads from the server in AWS_ENDPOINT_URL_S3 of
# the environment when that is set. Nothing is said of it. Without the variable it reads from the server it was given.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check obstore==0.12.1
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata as metadata
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from obstore.store import S3Store


def server(name: str) -> str:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("ETag", '"1"')
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_: object) -> None:
            pass

    found = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{found.server_port}"


configured, environment = server("the configured one"), server("the one of the environment")


def read() -> str:
    config = {
        "AWS_ENDPOINT_URL": configured, "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
    }
    return bytes(S3Store("bucket", config=config).get("object").bytes()).decode()


print(f"obstore {metadata.version('obstore')}")
without = read()
os.environ["AWS_ENDPOINT_URL_S3"] = environment
with_variable = read()
print(f"without the variable it read from {without}, with AWS_ENDPOINT_URL_S3 from {with_variable}")
assert (without, with_variable) == ("the configured one", "the one of the environment"), "behaviour has changed"
PYTHON
echo "as described"
