"""The store over a mounted folder: what it does, and what it says when it cannot."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaon_jobs.errors import ObjectNotFound, StageFailure, StoreAccessDenied, StoreUnreachable
from kaon_jobs.store.objectstore import Store, folder_digest, open_store, safe_path

SECRET_VALUE = "a-very-secret-value"


def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **keys: str) -> None:
    monkeypatch.setenv("KAON_SECRETS_DIR", str(tmp_path / "secrets"))
    folder = tmp_path / "secrets" / "mine"
    folder.mkdir(parents=True)
    for key, value in keys.items():
        (folder / key).write_text(value + "\n")


def test_a_folder_goes_up_and_comes_down_with_progress_in_bytes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a.txt").write_bytes(b"a" * 10)
    (source / "deep" / "b with space.txt").write_bytes(b"b" * 20)
    store = open_store(f"file:///mnt{tmp_path}/store/x", None)
    heard: list[tuple[int, int]] = []

    store.upload_folder(source, lambda done, total: heard.append((done, total)))
    entries = open_store(f"file:///mnt{tmp_path}/store", None).child("x").download_folder(tmp_path / "target")

    assert heard == [(10, 30), (30, 30)]
    assert [(entry.path, entry.size) for entry in entries] == [("a.txt", 10), ("deep/b with space.txt", 20)]
    assert (tmp_path / "target" / "deep" / "b with space.txt").read_bytes() == b"b" * 20


def test_a_download_returns_the_sha256_of_the_bytes_it_wrote(tmp_path: Path) -> None:
    store = open_store(f"file:///mnt{tmp_path}", None)
    store.write("x", b"content" * 100)
    assert store.download("x", tmp_path / "copy") == hashlib.sha256(b"content" * 100).hexdigest()


def test_create_puts_once_and_says_so(tmp_path: Path) -> None:
    store = open_store(f"file:///mnt{tmp_path}", None)
    assert store.create("kaon.json", b"first")
    assert not store.create("kaon.json", b"second")
    assert store.read("kaon.json") == b"first"


def test_what_is_not_there_is_named_with_its_whole_uri(tmp_path: Path) -> None:
    store = open_store(f"file:///mnt{tmp_path}/nowhere", None)
    with pytest.raises(ObjectNotFound, match=f"file:///mnt{tmp_path}/nowhere/x.csv"):
        store.read("x.csv")
    with pytest.raises(ObjectNotFound, match="nothing lies under"):
        store.download_folder(tmp_path / "target")
    assert store.entries() == []
    assert not store.exists("x.csv")


def test_deleting_what_is_gone_is_no_failure(tmp_path: Path) -> None:
    store = open_store(f"file:///mnt{tmp_path}", None)
    store.write("x", b"1")
    store.delete(["x", "never-there"])
    assert not store.exists("x")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", ""])
def test_names_that_would_leave_their_folder_are_refused(path: str) -> None:
    with pytest.raises(StageFailure, match="leave its folder"):
        safe_path(path)


def test_a_folder_digest_depends_on_names_and_contents_and_not_on_their_order() -> None:
    assert folder_digest({"a": "1", "b": "2"}) == folder_digest({"b": "2", "a": "1"})
    assert folder_digest({"a": "1", "b": "2"}) != folder_digest({"a": "2", "b": "1"})


def test_a_secret_that_is_not_mounted_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAON_SECRETS_DIR", str(tmp_path))
    with pytest.raises(StoreAccessDenied, match="the Secret mine is not mounted") as caught:
        open_store("s3://bucket/x", "mine")
    assert caught.value.reason == "StoreAccessDenied"
    assert not caught.value.retriable


def test_a_secret_without_the_stores_keys_says_which_keys_it_should_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret(tmp_path, monkeypatch, password=SECRET_VALUE, GOOGLE_SERVICE_ACCOUNT_KEY="{}")
    with pytest.raises(
        StoreAccessDenied, match="none of the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    ) as caught:
        open_store("s3://bucket/x", "mine")
    assert SECRET_VALUE not in caught.value.message


def test_an_option_that_the_store_does_not_know_is_named_without_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret(tmp_path, monkeypatch, AWS_SECRET_ACCES_KEY=SECRET_VALUE)
    with pytest.raises(StageFailure, match="AWS_SECRET_ACCES_KEY") as caught:
        open_store("s3://bucket/x", "mine")
    assert caught.value.reason == "StoreOptionInvalid"
    assert SECRET_VALUE not in caught.value.message


def test_a_store_that_does_not_answer_is_worth_another_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret(
        tmp_path,
        monkeypatch,
        AWS_ACCESS_KEY_ID="someone",
        AWS_SECRET_ACCESS_KEY=SECRET_VALUE,
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_ALLOW_HTTP="true",
    )
    monkeypatch.setattr("kaon_jobs.store.objectstore._RETRIES", {"max_retries": 1})
    with pytest.raises(StoreUnreachable, match="s3://bucket/x/y") as caught:
        open_store("s3://bucket/x", "mine").read("y")
    assert caught.value.retriable
    assert SECRET_VALUE not in caught.value.message


@pytest.mark.parametrize("uri", ["http://host/x", "https://host/x"])
def test_a_web_address_is_a_source_and_never_a_store_or_a_model(uri: str) -> None:
    with pytest.raises(StageFailure, match="For a source of a Dataset, and for nothing else") as caught:
        open_store(uri, None)
    assert (caught.value.reason, caught.value.retriable) == ("StoreUnsupported", False)
    assert open_store(uri, None, web=True).uri == uri


@pytest.mark.parametrize("uri", ["ftp://host/x", "https://host/x?signature=abc", "nonsense"])
def test_other_kinds_of_uri_are_refused_without_repeating_a_signature(uri: str) -> None:
    with pytest.raises(StageFailure) as caught:
        open_store(uri, None)
    assert caught.value.reason == "StoreUnsupported"
    assert "abc" not in caught.value.message


@pytest.fixture
def claims_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Mounted claims, beside a Secret of the pod that a link in a claim leads to."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "KEY").write_text(SECRET_VALUE)
    folder = tmp_path / "mnt"
    (folder / "claim" / "deep").mkdir(parents=True)
    (folder / "claim" / "a.csv").write_text("a")
    (folder / "claim" / "inner").symlink_to(folder / "claim" / "a.csv")
    (folder / "claim" / "deep" / "folder").symlink_to(tmp_path / "secrets")
    (folder / "claim" / "deep" / "file").symlink_to(tmp_path / "secrets" / "KEY")
    monkeypatch.setenv("KAON_CLAIMS_DIR", str(folder))
    return folder


@pytest.mark.parametrize(
    "touch",
    [
        lambda store: store.read("deep/file"),
        lambda store: store.read("deep/folder/KEY"),
        lambda store: list(store.stream("deep/file")),
        lambda store: store.child("deep/folder").read("KEY"),
        lambda store: store.child("deep").exists("file"),
        lambda store: store.read("../../secrets/KEY"),
        lambda store: store.entries(),
        lambda store: store.entries("deep/folder"),
        lambda store: store.download_folder(Path("/nowhere")),
        lambda store: store.write("deep/folder/new", b""),
        lambda store: store.create("deep/folder/new", b""),
        lambda store: store.upload("deep/folder/new", Path(__file__)),
        lambda store: store.delete(["deep/folder/KEY"]),
    ],
)
def test_a_link_does_not_lead_out_of_the_mounted_claims(
    claims_dir: Path, tmp_path: Path, touch: Callable[[Store], Any]
) -> None:
    with pytest.raises(StageFailure, match="leads out of /mnt, where claims are mounted") as caught:
        touch(open_store("file:///mnt/claim", None))
    assert (caught.value.reason, caught.value.retriable) == ("UnsafePath", False)
    assert SECRET_VALUE not in caught.value.message
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["KEY"]


def test_a_link_within_the_claims_is_followed(claims_dir: Path) -> None:
    store = open_store("file:///mnt/claim", None)
    assert store.read("inner") == b"a"
    (claims_dir / "claim" / "other").symlink_to(claims_dir / "claim")
    assert open_store("file:///mnt/claim/other", None).read("a.csv") == b"a"


def test_a_link_that_is_put_in_place_of_a_file_while_it_is_opened_leads_nowhere(
    claims_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = claims_dir / "claim" / "a.csv"
    resolve = os.path.realpath

    def swap(path: Any) -> str:
        found = resolve(path)
        if found == str(file) and not file.is_symlink():
            file.unlink()
            file.symlink_to(tmp_path / "secrets" / "KEY")
        return found

    monkeypatch.setattr(os.path, "realpath", swap)
    with pytest.raises(StageFailure, match="leads out of /mnt"):
        open_store("file:///mnt/claim", None).read("a.csv")
    assert file.is_symlink(), "the file was not swapped"


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc",
        "file:///",
        "file:///mntx/a",
        "file://host/mnt/claim",
        "file:///var/run/kaon/secrets/store",
        "file:///mnt%2f..%2fetc",
        "file:///%6dnt/../etc",
    ],
)
def test_a_file_that_is_not_in_a_mounted_claim_is_refused(claims_dir: Path, uri: str) -> None:
    with pytest.raises(StageFailure) as caught:
        open_store(uri, None).read("passwd")
    assert caught.value.reason == "UnsafePath"
    assert not caught.value.retriable
