"""Two namespaces over the embedded store, on the real server: neither reads, lists, writes, deletes or shadows the
other's objects, by requests that a client sends and by requests that only an attacker would send."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3server import BUCKET, Server, running
from sigv4 import Answer

from kaon.storeinit import tenants
from kaon.storeinit.tenants import Tenant
from kaon_jobs.errors import ObjectNotFound, StageFailure, StoreAccessDenied
from kaon_jobs.store.objectstore import open_store

TREASURE = b"only team-b may know this"
HIDDEN = "treasure-of-b"
OF_THE_SERVER = {".sgwtmp", ".vgwlocks"}
"""Folders of the server's own: parts of uploads, and locks."""
KEY = f"team-b/datasets/{HIDDEN}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("store"), ["team-a", "team-b", "team"]) as server:
        yield server


@pytest.fixture(autouse=True)
def mounted(store: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Secrets as a pod has them, and an object of team-b that must be the same after each test."""
    monkeypatch.setenv("KAON_SECRETS_DIR", str(store.secrets))
    assert store.client("team-b").send("PUT", f"/{BUCKET}/{KEY}", body=TREASURE).status == 200


def everything(store: Server) -> dict[str, bytes]:
    """Every object on the store's volume that is no part of team-a's folder, with its bytes."""
    home = store.data / BUCKET
    found = {}
    for folder, _, names in os.walk(store.data):
        for name in names:
            path = Path(folder) / name
            if not path.is_relative_to(home / "team-a") and not OF_THE_SERVER & set(path.parts):
                found[str(path.relative_to(store.data))] = path.read_bytes()
    return found


def test_a_namespace_uses_its_own_folder_as_any_store(store: Server, tmp_path: Path) -> None:
    own = open_store(f"s3://{BUCKET}/team-a/datasets/x", "team-a")
    own.write("small", b"one")
    assert own.create("kaon.json", b"{}") and not own.create("kaon.json", b"{}")
    big = tmp_path / "big"
    big.write_bytes(os.urandom(21 * 1024 * 1024))
    own.upload("big", big)
    assert own.download("big", tmp_path / "back") == hashlib.sha256(big.read_bytes()).hexdigest()
    assert [entry.path for entry in own.entries()] == ["big", "kaon.json", "small"]
    assert own.exists("small") and not own.exists("absent")
    with pytest.raises(ObjectNotFound):
        own.read("absent")
    own.delete(["small", "absent"])
    assert [entry.path for entry in own.entries()] == ["big", "kaon.json"]
    assert open_store(f"s3://{BUCKET}/team-a/nothing-there", "team-a").entries() == []


@pytest.mark.parametrize(
    "uri", [f"s3://{BUCKET}/team-b/datasets", f"s3://{BUCKET}/team/datasets", f"s3://{BUCKET}", f"s3://{BUCKET}/other"]
)
def test_a_stage_with_another_namespaces_uri_is_refused_whatever_it_does(store: Server, uri: str) -> None:
    before = everything(store)
    foreign = open_store(uri, "team-a")
    for attempt in (
        lambda: foreign.read(HIDDEN),
        lambda: foreign.exists(HIDDEN),
        lambda: foreign.entries(),
        lambda: foreign.write(HIDDEN, b"shadow"),
        lambda: foreign.create("kaon.json", b"{}"),
    ):
        with pytest.raises(StoreAccessDenied):
            attempt()
    with pytest.raises(StageFailure):
        foreign.delete([HIDDEN])
    assert everything(store) == before


DOTS = ("../team-b", "%2e%2e/team-b", "%2E%2E%2Fteam-b", "x/../../team-b", "./../team-b", "..%5Cteam-b", "/../team-b")
FOREIGN = (
    *(f"/{BUCKET}/team-a/{dots}/datasets/{HIDDEN}" for dots in DOTS),
    *(f"/{BUCKET}/{KEY}", f"/{BUCKET}//{KEY}", f"/{BUCKET}/./{KEY}", f"/{BUCKET}/team-a%00/../{KEY}"),
    *(f"/{BUCKET}/team%2Db/datasets/{HIDDEN}", f"/{BUCKET}/team-b%2Fdatasets%2F{HIDDEN}", f"/x/../{BUCKET}/{KEY}"),
)
TAGS = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"


def refused(answer: Answer) -> bool:
    """No success, and nothing told of the other's folder."""
    return answer.status >= 400 and TREASURE not in answer.body


def test_an_odd_path_gets_as_far_as_the_rights(store: Server) -> None:
    # Otherwise the next test would show no more than that the signature was wrong.
    answers = [store.client("team-a").send("GET", path) for path in FOREIGN]
    assert [path for path, answer in zip(FOREIGN, answers, strict=True) if b"Signature" in answer.body] == []


@pytest.mark.parametrize("path", FOREIGN)
def test_no_spelling_of_a_path_leads_to_another_folder(store: Server, path: str) -> None:
    before, client = everything(store), store.client("team-a")
    for method, query, body in (
        *(("GET", "", b""), ("HEAD", "", b""), ("GET", "attributes=", b""), ("GET", "acl=", b"")),
        *(("GET", "tagging=", b""), ("GET", "versionId=null", b""), ("GET", "partNumber=1", b"")),
        *(("PUT", "", b"shadow"), ("PUT", "tagging=", TAGS), ("PUT", "acl=", b""), ("POST", "uploads=", b"")),
        *(("DELETE", "", b""), ("DELETE", "tagging=", b""), ("DELETE", "versionId=null", b"")),
        *(("POST", "select=&select-type=2", b"<x/>"), ("POST", "restore=", b"<x/>"), ("PUT", "retention=", b"<x/>")),
    ):
        answer = client.send(method, path, query, body)
        assert TREASURE not in answer.body, (method, query)
        # A path that the server reads as one inside the own folder may be answered; nothing of the other's changes.
        assert refused(answer) or path.startswith(f"/{BUCKET}/team-a"), (method, query, answer)
    assert everything(store) == before


@pytest.mark.parametrize(
    "query",
    [
        *("", "list-type=2", "list-type=2&prefix=", "prefix=team", "prefix=team-", "list-type=2&prefix=team-b%2F"),
        *("prefix=team-b%2F", "prefix=team-b", "prefix=%2F", "prefix=team-b%2Fdatasets%2F&delimiter=%2F"),
        *("delimiter=%2F", "list-type=2&prefix=team-a", "list-type=2&prefix=team-a%2F&prefix=team-b%2F"),
        *("list-type=2&prefix=team-b%2F&prefix=team-a%2F", "list-type=2&prefix=team-a%2F..%2Fteam-b%2F"),
        *("list-type=2&prefix=team-a%2F..%2F", "prefix=team-a%2F..%2Fteam-b%2Fdatasets%2F&delimiter=%2F"),
        *("list-type=2&prefix=team-a%2F&start-after=team-b%2F", "prefix=team-a%2F&marker=team-b%2F"),
        *("versions=", "versions=&prefix=team-b%2F", "versions=&prefix=team-a%2F", "uploads="),
        *("uploads=&prefix=team-b%2F", "uploads=&prefix=team-a%2F", "list-type=2&prefix=TEAM-B%2F"),
        *("list-type=2&Prefix=team-b%2F", "list-type=2&prefix=team-a%2F%00team-b%2F", "list-type=2&prefix=team-a%2A"),
    ],
)
def test_no_list_names_anything_of_another_folder(store: Server, query: str) -> None:
    begun = store.client("team-b").send("POST", f"/{BUCKET}/{KEY}-upload", "uploads=")
    assert begun.status == 200
    answer = store.client("team-a").send("GET", f"/{BUCKET}", query)
    assert HIDDEN.encode() not in answer.body
    own = "prefix=team-a%2F" in query and "versions" not in query and "uploads" not in query
    assert answer.status >= 400 or own, answer


SOURCES = (KEY, f"team-a/../{KEY}", f"team-a%2F..%2F{KEY}", f"team-a/%2e%2e/{KEY}", KEY.replace("/", "%2F"), f"/{KEY}")


@pytest.mark.parametrize(
    "source", [*(f"{BUCKET}/{key}" for key in SOURCES), f"/{BUCKET}/{KEY}", f"x/../{BUCKET}/{KEY}"]
)
def test_no_copy_takes_from_another_folder_or_puts_into_it(store: Server, source: str) -> None:
    before, client = everything(store), store.client("team-a")
    assert client.send("PUT", f"/{BUCKET}/team-a/own", body=b"mine").status == 200
    copied = client.send("PUT", f"/{BUCKET}/team-a/stolen", headers={"x-amz-copy-source": source})
    assert copied.status >= 400, copied
    begun = client.send("POST", f"/{BUCKET}/team-a/stolen", "uploads=")
    upload = begun.body.decode().partition("<UploadId>")[2].partition("<")[0]
    part = f"partNumber=1&uploadId={upload}"
    assert upload
    assert client.send("PUT", f"/{BUCKET}/team-a/stolen", part, headers={"x-amz-copy-source": source}).status >= 400
    own = {"x-amz-copy-source": f"{BUCKET}/team-a/own"}
    assert client.send("PUT", f"/{BUCKET}/{KEY}", headers=own).status >= 400
    assert client.send("GET", f"/{BUCKET}/team-a/stolen").status == 404
    assert everything(store) == before
    assert client.send("PUT", f"/{BUCKET}/team-a/copy", headers=own).status == 200
    assert client.send("GET", f"/{BUCKET}/team-a/copy").body == b"mine"


def test_an_upload_of_another_folder_cannot_be_filled_or_ended(store: Server) -> None:
    begun = store.client("team-b").send("POST", f"/{BUCKET}/{KEY}-big", "uploads=")
    upload = begun.body.decode().partition("<UploadId>")[2].partition("<")[0]
    client = store.client("team-a")
    for path in (f"/{BUCKET}/{KEY}-big", f"/{BUCKET}/team-a/x", f"/{BUCKET}/team-a/../{KEY}-big"):
        assert client.send("PUT", path, f"partNumber=1&uploadId={upload}", b"shadow").status >= 400
        assert client.send("GET", path, f"uploadId={upload}").status >= 400
        assert client.send("POST", path, f"uploadId={upload}", b"<CompleteMultipartUpload/>").status >= 400
        assert client.send("DELETE", path, f"uploadId={upload}").status >= 400
    part = store.client("team-b").send("PUT", f"/{BUCKET}/{KEY}-big", f"partNumber=1&uploadId={upload}", b"good")
    assert part.status == 200


def test_a_batch_deletes_what_is_ones_own_and_no_more(store: Server) -> None:
    client = store.client("team-a")
    assert client.send("PUT", f"/{BUCKET}/team-a/own", body=b"mine").status == 200
    keys = ("team-a/own", KEY, f"team-a/../{KEY}", f"/{KEY}", f"./{KEY}")
    body = f"<Delete>{''.join(f'<Object><Key>{key}</Key></Object>' for key in keys)}</Delete>".encode()
    headers = {"content-md5": b64encode(hashlib.md5(body).digest()).decode()}
    answer = client.send("POST", f"/{BUCKET}", "delete=", body, headers)
    assert answer.body.count(b"AccessDenied") >= 1
    assert client.send("GET", f"/{BUCKET}/team-a/own").status == 404
    assert store.client("team-b").send("GET", f"/{BUCKET}/{KEY}").body == TREASURE


def test_rights_buckets_and_users_are_nobodys_but_the_roots(store: Server) -> None:
    before, client = everything(store), store.client("team-a")
    policy = tenants.bucket_policy(BUCKET, [Tenant("team-a", "team-b")]).encode()
    user = b"<Account><Access>mine</Access><Secret>my-secret-1</Secret><Role>admin</Role></Account>"
    attempts = [
        ("GET", "/", "", b""),
        *(("PUT", "/new-bucket", "", b""), ("DELETE", f"/{BUCKET}", "", b""), ("PUT", f"/{BUCKET}", "", b"")),
        *((method, f"/{BUCKET}", "policy=", policy) for method in ("GET", "PUT", "DELETE")),
        *(("GET", f"/{BUCKET}", f"{what}=", b"") for what in ("acl", "versioning", "cors", "ownershipControls")),
        *(("PUT", f"/{BUCKET}", f"{what}=", b"<x/>") for what in ("acl", "versioning", "cors", "ownershipControls")),
        *(("PUT", f"/{BUCKET}", f"{what}=", b"<x/>") for what in ("object-lock", "tagging", "website", "lifecycle")),
        *((method, f"/{name}", "", user) for name in ("create-user", "list-users", "delete-user", "update-user")
          for method in ("PATCH", "PUT", "POST")),
        *(("PATCH", f"/{name}", "bucket=kaon&owner=team-a", b"") for name in ("change-bucket-owner", "list-buckets")),
    ]  # fmt: skip
    for attempt in attempts:
        answer = client.send(*attempt)
        assert answer.status >= 400 or (attempt[1] == "/" and BUCKET.encode() not in answer.body), (attempt, answer)
    assert everything(store) == before
    # The interface for users does not answer on this port at all, not even to the root.
    assert store.root().send("PATCH", "/list-users").status >= 400


def test_a_wrong_key_another_names_key_and_no_key_open_nothing(store: Server) -> None:
    own = store.client("team-a").secret
    for client in (
        store.client("team-a", secret="wrong"),
        store.client("team-a", generation=2),
        store.client("team-b", secret=own),
        store.client("nobody", secret=own),
    ):
        assert client.send("GET", f"/{BUCKET}/{KEY}").status >= 400
        assert client.send("PUT", f"/{BUCKET}/{KEY}", body=b"shadow").status >= 400
        assert client.send("GET", f"/{BUCKET}", "prefix=team-b%2F").status >= 400
    assert store.client("team-b").send("GET", f"/{BUCKET}/{KEY}").body == TREASURE


def test_new_keys_end_the_old_ones_and_a_namespace_that_left_opens_nothing(tmp_path: Path) -> None:
    path = f"/{BUCKET}/team-a/x"
    with running(tmp_path, ["team-a", "team-b"]) as first:
        assert first.client("team-a").send("PUT", path, body=b"one").status == 200
    with running(tmp_path, ["team-a", "team-c"], generation=2) as second:
        assert second.client("team-a").send("GET", path).status >= 400
        assert second.client("team-a", generation=2).send("GET", path).body == b"one"
        assert second.client("team-b", generation=2).send("GET", f"/{BUCKET}", "prefix=team-b%2F").status >= 400
        assert second.client("team-c", generation=2).send("PUT", f"/{BUCKET}/team-c/x", body=b"new").status == 200


def test_namespaces_of_one_trust_domain_share_its_folder_and_keep_their_own(tmp_path: Path) -> None:
    with running(tmp_path, ["team-a=shared", "team-b=shared", "team-c"]) as store:
        artifact = f"/{BUCKET}/shared.shared/datasets/x"
        assert store.client("team-a").send("PUT", artifact, body=b"one").status == 200
        assert store.client("team-b").send("GET", artifact).body == b"one"
        assert store.client("team-c").send("GET", artifact).status == 403
        assert store.client("team-a").send("PUT", f"/{BUCKET}/team-a/raw/x", body=b"two").status == 200
        assert store.client("team-b").send("GET", f"/{BUCKET}/team-a/raw/x").status == 403
        listed = store.client("team-b").send("GET", f"/{BUCKET}", "list-type=2&prefix=shared.shared%2F")
        assert b"shared.shared/datasets/x" in listed.body


def test_a_connection_serves_more_than_one_request(store: Server) -> None:
    # With TLS, what the client sends at the end of a connection that the server closed would end a port-forward.
    connection = http.client.HTTPSConnection(
        "127.0.0.1", store.port, timeout=10, context=ssl.create_default_context(cadata=store.authority)
    )
    for _ in range(2):
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200 and not answer.will_close
    connection.close()


def test_a_server_that_another_authority_signed_is_not_spoken_to(
    store: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path, ["team-a"]) as other:
        folder = tmp_path / "pinned" / "team-a"
        folder.mkdir(parents=True)
        for file in (store.secrets / "team-a").iterdir():
            (folder / file.name).write_text(file.read_text())
        (folder / "AWS_ENDPOINT_URL").write_text(other.endpoint)
        monkeypatch.setenv("KAON_SECRETS_DIR", str(folder.parent))
        monkeypatch.setattr("kaon_jobs.store.objectstore._RETRIES", {"max_retries": 0})
        with pytest.raises(StageFailure) as refusal:
            open_store(f"s3://{BUCKET}/team-a", "team-a").read("x")
        assert "InvalidCertificate" in str(refusal.value.__cause__)
