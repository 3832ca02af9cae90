"""The store over a mounted folder: what it does, and what it says when it cannot."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kaon_jobs.errors import ObjectNotFound, StageFailure, StoreAccessDenied, StoreUnreachable
from kaon_jobs.store import folder_digest, open_store, safe_path

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
    store = open_store(f"file://{tmp_path}/store/x", None)
    heard: list[tuple[int, int]] = []

    store.upload_folder(source, lambda done, total: heard.append((done, total)))
    entries = open_store(f"file://{tmp_path}/store", None).child("x").download_folder(tmp_path / "target")

    assert heard == [(10, 30), (30, 30)]
    assert [(entry.path, entry.size) for entry in entries] == [("a.txt", 10), ("deep/b with space.txt", 20)]
    assert (tmp_path / "target" / "deep" / "b with space.txt").read_bytes() == b"b" * 20


def test_a_download_returns_the_sha256_of_the_bytes_it_wrote(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}", None)
    store.write("x", b"content" * 100)
    assert store.download("x", tmp_path / "copy") == hashlib.sha256(b"content" * 100).hexdigest()


def test_create_puts_once_and_says_so(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}", None)
    assert store.create("kaon.json", b"first")
    assert not store.create("kaon.json", b"second")
    assert store.read("kaon.json") == b"first"


def test_what_is_not_there_is_named_with_its_whole_uri(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/nowhere", None)
    with pytest.raises(ObjectNotFound, match=f"file://{tmp_path}/nowhere/x.csv"):
        store.read("x.csv")
    with pytest.raises(ObjectNotFound, match="nothing lies under"):
        store.download_folder(tmp_path / "target")
    assert store.entries() == []
    assert not store.exists("x.csv")


def test_deleting_what_is_gone_is_no_failure(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}", None)
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
    with pytest.raises(StageFailure, match="acces_key") as caught:
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
    monkeypatch.setattr("kaon_jobs.store._RETRIES", {"max_retries": 1})
    with pytest.raises(StoreUnreachable, match="s3://bucket/x/y") as caught:
        open_store("s3://bucket/x", "mine").read("y")
    assert caught.value.retriable
    assert SECRET_VALUE not in caught.value.message


@pytest.mark.parametrize("uri", ["ftp://host/x", "https://host/x?signature=abc", "nonsense"])
def test_other_kinds_of_uri_are_refused_without_repeating_a_signature(uri: str) -> None:
    with pytest.raises(StageFailure) as caught:
        open_store(uri, None)
    assert caught.value.reason == "StoreUnsupported"
    assert "abc" not in caught.value.message
