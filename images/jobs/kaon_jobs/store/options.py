"""The options of a store's client: from a mounted Secret, or of the pod's own identity, and from nowhere else.

The client (obstore) reads the environment by itself, and some variables there outrank the options that it is given; it
takes proxies and certificates from there, too. So the environment is cleared of them before a client is made. What a
webhook of a cloud put there for the pod's identity is kept aside, and given to stores that are opened without a Secret.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from kaon.contract.jobspec import SECRETS_DIR
from kaon_jobs.errors import StageFailure, StoreAccessDenied

SECRETS_VARIABLE = "KAON_SECRETS_DIR"
"""Overrides SECRETS_DIR where there is no mount, e.g. in tests."""

PREFIX = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
WANTED = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL, AWS_REGION for a store other than AWS)",
    "gs": "GOOGLE_SERVICE_ACCOUNT_KEY (the JSON key)",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}

_CLIENT_OPTIONS = (
    "ALLOW_HTTP", "ALLOW_INVALID_CERTIFICATES", "CONNECT_TIMEOUT", "HTTP1_ONLY", "HTTP2_ONLY", "PROXY_CA_CERTIFICATE",
    "PROXY_EXCLUDES", "PROXY_URL", "TIMEOUT", "USER_AGENT",
)  # fmt: skip
_STORE_OPTIONS = {
    "s3": (
        "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "TOKEN", "SKIP_SIGNATURE", "REGION", "DEFAULT_REGION",
        "ENDPOINT", "ENDPOINT_URL", "ENDPOINT_URL_S3", "VIRTUAL_HOSTED_STYLE_REQUEST", "S3_EXPRESS", "REQUEST_PAYER",
        "UNSIGNED_PAYLOAD", "CHECKSUM_ALGORITHM", "CONDITIONAL_PUT", "COPY_IF_NOT_EXISTS", "DISABLE_TAGGING",
        "DISABLE_BULK_DELETE", "SERVER_SIDE_ENCRYPTION", "SSE_KMS_KEY_ID", "SSE_BUCKET_KEY_ENABLED",
        "SSE_CUSTOMER_KEY_BASE64",
    ),
    "gs": ("SERVICE_ACCOUNT_KEY", "BEARER_TOKEN", "SKIP_SIGNATURE", "BASE_URL"),
    "az": (
        "STORAGE_ACCOUNT_NAME", "STORAGE_ACCOUNT_KEY", "STORAGE_ACCESS_KEY", "STORAGE_MASTER_KEY", "STORAGE_SAS_KEY",
        "STORAGE_SAS_TOKEN", "STORAGE_TOKEN", "SKIP_SIGNATURE", "STORAGE_CLIENT_ID", "CLIENT_ID",
        "STORAGE_CLIENT_SECRET", "CLIENT_SECRET", "STORAGE_TENANT_ID", "TENANT_ID", "STORAGE_AUTHORITY_ID",
        "AUTHORITY_ID", "STORAGE_AUTHORITY_HOST", "AUTHORITY_HOST", "STORAGE_ENDPOINT", "ENDPOINT",
        "STORAGE_ENCRYPTION_KEY", "DISABLE_TAGGING",
    ),
}  # fmt: skip
SECRET_OPTIONS = {
    scheme: frozenset(PREFIX[scheme] + name for name in (*names, *_CLIENT_OPTIONS))
    for scheme, names in _STORE_OPTIONS.items()
}
"""What a Secret may set: values. An option that names a file of the pod, or a service that hands out credentials, would
let whoever writes the Secret have the pod send its own token or key to a server of their choice."""

_WITH_IDENTITY = {
    "s3": frozenset({"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_REQUEST_PAYER", "AWS_DISABLE_TAGGING"}),
    "gs": frozenset[str](),
    "az": frozenset({"AZURE_STORAGE_ACCOUNT_NAME", "AZURE_DISABLE_TAGGING"}),
}
"""A Secret of these options alone goes together with the pod's identity: they name neither credentials nor a server,
to which the identity's token would be sent."""

IDENTITY = {
    # Amazon EKS: IAM roles for service accounts (a webhook), and Pod Identity (another).
    "s3": (
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ),
    # Google Kubernetes Engine sets no variable: the node's metadata server knows the pod by its address.
    "gs": (),
    # Azure: azure-workload-identity's webhook. The account is no part of an identity: a Secret names it.
    "az": ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"),
}
"""The variables by which a cloud's webhook tells a pod its identity."""

_READ_BY_CLIENTS = re.compile(
    r"(AWS|GOOGLE|GCLOUD|GCE|CLOUDSDK|AZURE|AZURITE|MSI|IDENTITY|SSL_CERT)_.*|SERVICE_ACCOUNT|FUNCTION_.*"
    r"|(HTTPS?|ALL|NO|FTP)_PROXY|REQUEST_METHOD|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS",
    re.IGNORECASE,
)
"""What obstore, its HTTP client, its TLS library or the resolver of names reads from the environment."""

_identity: dict[str, str] = {}


def clear_environment() -> None:
    """Take out of the process's environment whatever a store's client would read there.

    For good: a client reads some of it late, from threads of its own.
    """
    for name in [name for name in os.environ if _READ_BY_CLIENTS.fullmatch(name)]:
        value = os.environ.pop(name)
        if any(name in names for names in IDENTITY.values()):
            _identity[name] = value


def identity_options(scheme: str) -> dict[str, str]:
    """The options of the pod's own identity, as a cloud's webhook gave them to the process."""
    return {name: _identity[name] for name in IDENTITY.get(scheme, ()) if name in _identity}


def secret_options(uri: str, scheme: str, secret: str) -> dict[str, str]:
    """The options in the mounted Secret of that name, with the pod's identity where it names only a place.

    Raises:
        StoreAccessDenied: it is not mounted, or has none.
        StageFailure: an option is unknown, or not for a Secret.
    """
    folder = Path(os.environ.get(SECRETS_VARIABLE, SECRETS_DIR)) / secret
    if not folder.is_dir():
        raise StoreAccessDenied(f"cannot open {uri}: the Secret {secret} is not mounted; is it in this namespace?")
    # Other keys of the Secret (of another cloud, or none of ours) are left alone.
    files = [path for path in sorted(folder.iterdir()) if path.name.startswith(PREFIX[scheme]) and path.is_file()]
    if not files:
        raise StoreAccessDenied(f"cannot open {uri}: the Secret {secret} has none of the keys {WANTED[scheme]}")
    unknown = [path.name for path in files if path.name not in SECRET_OPTIONS[scheme]]
    if unknown:
        raise StageFailure(
            "StoreOptionInvalid",
            f"cannot open {uri}: the Secret {secret} has the key {unknown[0]}, which is no option that a Secret may "
            f"set. Remove or correct it. It may have the keys {', '.join(sorted(SECRET_OPTIONS[scheme]))}",
        )
    options = {path.name: path.read_text().strip() for path in files}
    return identity_options(scheme) | options if options.keys() <= _WITH_IDENTITY[scheme] else options


def authority(secret: str) -> dict[str, str]:
    """The client's option for a store whose certificate the authority in the Secret's key `ca.crt` signed."""
    file = Path(os.environ.get(SECRETS_VARIABLE, SECRETS_DIR)) / secret / "ca.crt"
    return {"root_certificate": file.read_text()} if file.is_file() else {}


def is_sensitive(option: str) -> bool:
    """Whether the value of an option must never be shown."""
    return any(part in option for part in ("KEY", "SECRET", "TOKEN", "PASSWORD", "SAS", "CREDENTIAL", "PROXY_URL"))
