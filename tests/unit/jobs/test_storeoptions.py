"""Where the options of a store's client come from. What the client does with them is seen in test_s3."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from kaon_jobs.errors import StageFailure
from kaon_jobs.store.objectstore import open_store
from kaon_jobs.store.options import SECRET_OPTIONS, clear_environment, identity_options, secret_options

URIS = {"s3": "s3://bucket/x", "gs": "gs://bucket/x", "az": "az://container/x"}


def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **keys: str) -> None:
    monkeypatch.setenv("KAON_SECRETS_DIR", str(tmp_path / "secrets"))
    folder = tmp_path / "secrets" / "mine"
    folder.mkdir(parents=True)
    for key, value in keys.items():
        (folder / key).write_text(value)


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "GOOGLE_SERVICE_ACCOUNT", "SERVICE_ACCOUNT", "AZURE_MSI_ENDPOINT"),
        *("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "AZURITE_BLOB_STORAGE_URL", "SSL_CERT_FILE"),
        *("SSL_CERT_DIR", "HTTP_PROXY", "https_proxy", "all_proxy", "NO_PROXY", "HOSTALIASES", "RES_OPTIONS"),
    ],
)
def test_what_a_client_would_read_is_gone_from_the_process_and_its_children(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "x")
    clear_environment()
    assert name not in os.environ and os.getenv(name) is None
    assert all(name not in identity_options(scheme) for scheme in URIS)


def test_variables_that_no_client_reads_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "HOME", "KUBERNETES_SERVICE_HOST", "KAON_JOB_SPEC", "LANG"):
        monkeypatch.setenv(name, "x")
    clear_environment()
    assert all(name in os.environ for name in ("OMP_NUM_THREADS", "HOME", "KUBERNETES_SERVICE_HOST", "KAON_JOB_SPEC"))


def test_an_identity_is_given_to_its_own_cloud_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/a")
    monkeypatch.setenv("AZURE_CLIENT_ID", "client")
    clear_environment()
    assert identity_options("s3") == {"AWS_ROLE_ARN": "arn:aws:iam::1:role/a"}
    assert identity_options("az") == {"AZURE_CLIENT_ID": "client"}
    assert identity_options("gs") == {}


def test_a_secret_that_only_names_the_place_goes_with_the_pods_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_ID", "client")
    mounted(tmp_path, monkeypatch, AZURE_STORAGE_ACCOUNT_NAME="account")
    clear_environment()
    assert secret_options(URIS["az"], "az", "mine") == {
        "AZURE_CLIENT_ID": "client",
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
    }


@pytest.mark.parametrize("key", ["AZURE_STORAGE_ENDPOINT", "AZURE_AUTHORITY_HOST", "AZURE_PROXY_URL"])
def test_a_secret_that_names_a_server_gets_no_identity_to_send_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/token")
    mounted(tmp_path, monkeypatch, AZURE_STORAGE_ACCOUNT_NAME="account", **{key: "https://server.example"})
    clear_environment()
    assert "AZURE_FEDERATED_TOKEN_FILE" not in secret_options(URIS["az"], "az", "mine")


@pytest.mark.parametrize(
    ("scheme", "key"),
    [
        ("s3", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("s3", "AWS_ENDPOINT_URL_STS"),
        ("s3", "AWS_ROLE_ARN"),
        ("s3", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ("s3", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        ("s3", "AWS_METADATA_ENDPOINT"),
        ("gs", "GOOGLE_SERVICE_ACCOUNT"),
        ("gs", "GOOGLE_SERVICE_ACCOUNT_PATH"),
        ("gs", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("az", "AZURE_FEDERATED_TOKEN_FILE"),
        ("az", "AZURE_MSI_ENDPOINT"),
        ("az", "AZURE_IDENTITY_ENDPOINT"),
        ("az", "AZURE_USE_AZURE_CLI"),
        ("az", "AZURE_STORAGE_USE_EMULATOR"),
    ],
)
def test_a_secret_cannot_name_a_file_of_the_pod_or_a_giver_of_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, key: str
) -> None:
    mounted(tmp_path, monkeypatch, **{key: "/var/run/secrets/kubernetes.io/serviceaccount/token"})
    with pytest.raises(StageFailure, match=f"the key {key}, which is no option") as caught:
        open_store(URIS[scheme], "mine")
    assert caught.value.reason == "StoreOptionInvalid" and not caught.value.retriable
    assert "serviceaccount" not in caught.value.message


@pytest.mark.parametrize(("scheme", "store"), [("s3", S3Store), ("gs", GCSStore), ("az", AzureStore)])
def test_every_option_that_a_secret_may_set_is_one_that_the_client_knows(scheme: str, store: type[S3Store]) -> None:
    for name in SECRET_OPTIONS[scheme]:
        try:
            store("bucket", config={name: "true"})  # type: ignore[misc]
        except BaseError as error:
            assert "is not valid for store" not in str(error), name
