"""The store against a real S3 server: versitygw, started here on loopback with its users in a folder."""

from __future__ import annotations

import http.client
import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
import pytest

from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact, JobSpec
from kaon_jobs.errors import ArtifactCorrupted, ObjectNotFound, StoreAccessDenied
from kaon_jobs.store import artifact
from kaon_jobs.store.objectstore import open_store
from kaon_jobs.store.options import clear_environment, identity_options

ROOT = Path(__file__).resolve().parents[3]
ROOT_KEY, ROOT_SECRET = "root-user", "root-secret-value"
BUCKET = "kaon"


def _binary() -> str:
    """versitygw of PATH, else the local cluster's, which builds it the first time (a minute)."""
    if found := shutil.which("versitygw"):
        return found
    command = [sys.executable, str(ROOT / "hack" / "localcluster"), "tool", "versitygw"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if asked.returncode != 0:
        pytest.fail(f"the S3 server of these tests cannot be built: {asked.stderr[-2000:]}")
    return asked.stdout.strip().splitlines()[-1]


@dataclass
class S3:
    """A running server with a bucket, and the folder that stands for mounted Secrets."""

    endpoint: str
    data: Path
    secrets: Path

    def secret(self, name: str, key: str, secret: str) -> None:
        folder = self.secrets / name
        folder.mkdir(parents=True, exist_ok=True)
        options = {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        for option, value in options.items():
            (folder / option).write_text(value)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    binary = _binary()
    root = tmp_path_factory.mktemp("s3")
    data = root / "data"
    (data / BUCKET).mkdir(parents=True)
    (root / "iam").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (root / "log").open("w")
    process = subprocess.Popen(
        [
            binary,
            *("--port", f"127.0.0.1:{port}", "--access", ROOT_KEY, "--secret", ROOT_SECRET),
            *("--iam-dir", str(root / "iam"), "posix", str(data)),
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        until = time.monotonic() + 30
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
                connection.request("GET", "/")
                connection.getresponse()
                break
            except OSError:
                assert process.poll() is None, (root / "log").read_text()
                assert time.monotonic() < until, "versitygw does not answer"
                time.sleep(0.1)
        yield S3(f"http://127.0.0.1:{port}", data, root / "secrets")
    finally:
        process.terminate()
        process.wait(timeout=10)
        log.close()


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    monkeypatch.setenv("KAON_SECRETS_DIR", str(server.secrets))
    server.secret("good", ROOT_KEY, ROOT_SECRET)
    return server


def job(name: str) -> JobSpec:
    digest = "sha256:" + "cd" * 32
    source = {"uri": "file:///mnt/none", "digest": digest}
    return JobSpec.model_validate(
        {
            "provenance": {
                "kind": "TrainingRun",
                "namespace": "n",
                "name": name,
                "uid": "u",
                "generation": 1,
                "kaonVersion": "0",
                "image": "i",
            },
            "inputDigest": digest,
            "declaration": digest,
            "content": {},
            "output": {"uri": f"s3://{BUCKET}/{name}", "secret": "good"},
            "work": {
                **{"stage": "train", "task": "text-classification", "dataset": source, "recipe": {}, "checkpoint": {}},
                "model": {"base": "s3://models/m"},
            },
        }
    )


def result() -> Result:
    return Result(start_time="2026-01-01T00:00:00Z", completion_time="2026-01-01T00:00:01Z")


def test_a_folder_with_a_large_file_goes_up_in_parts_and_comes_down_the_same(s3: S3, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "large.bin").write_bytes(bytes(range(256)) * 50_000)
    (source / "small.txt").write_text("small")
    store = open_store(f"s3://{BUCKET}/folder", "good")
    store.upload_folder(source)
    store.download_folder(tmp_path / "target")
    assert (tmp_path / "target" / "deep" / "large.bin").read_bytes() == (source / "deep" / "large.bin").read_bytes()
    assert [entry.path for entry in store.entries()] == ["deep/large.bin", "small.txt"]


@pytest.mark.parametrize("name", ["a#2.csv", "what?.csv", "100%25.csv"])
def test_a_key_is_taken_as_it_is_written(s3: S3, name: str) -> None:
    open_store(f"s3://{BUCKET}/odd", "good").write(name, b"odd")
    assert open_store(f"s3://{BUCKET}/odd/{name}", "good").read("") == b"odd"


def test_the_manifest_is_put_once_and_the_second_attempt_adopts_the_first(s3: S3, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / "model.onnx").write_bytes(b"one")
    first = artifact.publish(job("twice"), made, kind="model", attempt="one", result=result())
    (made / "model.onnx").write_bytes(b"two")
    second = artifact.publish(job("twice"), made, kind="model", attempt="two", result=result())
    assert second.artifact == first.artifact and second.reused and not first.reused
    output: Any = job("twice").artifact
    paths = [entry.path for entry in open_store(output.uri, "good").entries()]
    assert paths == ["kaon.json", "one/kaon.sig", "one/model.onnx"]


def test_one_byte_changed_in_the_bucket_is_refused(s3: S3, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / "model.onnx").write_bytes(b"weights")
    published = artifact.publish(job("corrupt"), made, kind="model", attempt="one", result=result())
    assert published.artifact is not None
    (path,) = (s3.data / BUCKET / "corrupt").rglob("model.onnx")
    path.write_bytes(b"weighty")
    source = InputArtifact(uri=published.artifact.uri, digest=published.artifact.digest, secret="good")
    with pytest.raises(ArtifactCorrupted, match=r"one/model\.onnx is not what the manifest names"):
        artifact.fetch(source, tmp_path / "target", kinds={"model"})


def test_a_refused_key_names_the_uri_and_the_secret_and_its_keys_but_no_value(s3: S3) -> None:
    s3.secret("bad", ROOT_KEY, "not-the-right-secret")
    for call in (
        lambda store: store.read("x"),
        lambda store: store.create("x", b""),
        lambda store: store.entries(),
        lambda store: store.write("x", b""),
    ):
        with pytest.raises(StoreAccessDenied) as caught:
            call(open_store(f"s3://{BUCKET}/folder", "bad"))
        message = caught.value.message
        assert f"s3://{BUCKET}/folder" in message and "Secret bad" in message
        assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in message
        assert "not-the-right-secret" not in message and ROOT_KEY not in message
        assert not caught.value.retriable


def test_an_unknown_user_is_denied_too(s3: S3) -> None:
    s3.secret("nobody", "nobody-here", "some-secret-value")
    with pytest.raises(StoreAccessDenied, match="Secret nobody"):
        open_store(f"s3://{BUCKET}/folder", "nobody").entries()


def test_a_bucket_that_is_not_there_is_not_found(s3: S3) -> None:
    with pytest.raises(ObjectNotFound, match="s3://no-such-bucket/x"):
        open_store("s3://no-such-bucket/x", "good").read("kaon.json")
    with pytest.raises(ObjectNotFound):
        open_store("s3://no-such-bucket/x", "good").create("kaon.json", b"{}")


@dataclass
class Listener:
    """A server of somebody else. It answers whatever it is asked, and remembers that it was asked."""

    url: str
    asked: list[str]
    answer: bytes = b"what somebody else wants to be read"


@pytest.fixture
def listener() -> Iterator[Listener]:
    heard: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(f"{self.command} {self.path} {self.headers.get('authorization', '')}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(found.answer)))
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("ETag", '"x"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(found.answer)

        do_HEAD = do_CONNECT = do_PUT = do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Listener(f"http://127.0.0.1:{server.server_port}", heard)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


STEERING = (
    *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_PROXY_URL", "AWS_ENDPOINT_URL_STS"),
    *("AWS_METADATA_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    *("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
)


@pytest.mark.parametrize("name", STEERING)
def test_a_variable_of_the_environment_leads_the_stores_client_nowhere_else(
    s3: S3, listener: Listener, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    open_store(f"s3://{BUCKET}/env", "good").write("rows.csv", b"true rows")
    monkeypatch.setenv(name, listener.url)
    assert open_store(f"s3://{BUCKET}/env", "good").read("rows.csv") == b"true rows"
    assert listener.asked == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ACCESS_KEY_ID", "somebody-else"),
        ("AWS_SESSION_TOKEN", "of-somebody-else"),
        ("AWS_SKIP_SIGNATURE", "true"),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"),
        ("AWS_S3_EXPRESS", "true"),
        ("AWS_ALLOW_HTTP", "false"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/etc/passwd"),
    ],
)
def test_a_variable_of_the_environment_is_no_option_beside_a_secrets(
    s3: S3, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    open_store(f"s3://{BUCKET}/env", "good").write("rows.csv", b"true rows")
    monkeypatch.setenv(name, value)
    assert open_store(f"s3://{BUCKET}/env", "good").read("rows.csv") == b"true rows"


def test_a_source_over_http_is_not_read_through_a_proxy_of_the_environment(
    s3: S3, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, listener.url)
    # The S3 server refuses whoever does not sign, and so is the one that was asked.
    with pytest.raises(StoreAccessDenied):
        open_store(f"{s3.endpoint}/{BUCKET}", None, web=True).read("rows.csv")
    assert listener.asked == []


def test_a_pods_identity_from_a_webhook_opens_the_store(
    s3: S3, listener: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on Amazon EKS: an agent on the node hands out credentials for the token that the webhook mounted."""
    listener.answer = json.dumps(
        {
            "AccessKeyId": ROOT_KEY,
            "SecretAccessKey": ROOT_SECRET,
            "Token": "",
            "Expiration": "2099-01-01T00:00:00Z",
        }
    ).encode()
    (tmp_path / "token").write_text("token-of-the-pod")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{listener.url}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    clear_environment()
    options: Any = {**identity_options("s3"), "AWS_ENDPOINT_URL": s3.endpoint, "AWS_ALLOW_HTTP": "true"}
    store = obstore.store.S3Store(BUCKET, config=options)
    obstore.put(store, "by-identity", b"x")
    assert listener.asked == ["GET /v1/credentials token-of-the-pod"]
