"""Who may do what in the embedded store, in the words of its server (versitygw). Pure.

Each namespace is a user of the store with a key of its own. It may read, write, list and delete below the folder of its
name and below the folder of a trust domain that it shares. It may not list the bucket, or read and set rights.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaon.contract.trust import SHARED_SUFFIX

LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
"""A DNS label: what a namespace is called. It holds none of the characters that a policy reads as a pattern."""

OBJECT_ACTIONS = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
"""What a client of artifacts does with an object. Tags, ACLs, versions and retention are not among it."""


class TenantError(ValueError):
    """Namespaces and folders that do not go together; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A namespace, and the trust domain that it shares with others, if it does."""

    namespace: str
    domain: str | None = None

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the bucket that this namespace may use: its own, and its domain's."""
        return (self.namespace,) if self.domain is None else (self.namespace, f"{self.domain}{SHARED_SUFFIX}")

    @property
    def user(self) -> str:
        """Its access key. No folder can be called like it, so that hiding it in a message hides no path."""
        return f"ns.{self.namespace}"


def parse(text: str) -> Tenant:
    """`NAMESPACE` or `NAMESPACE=DOMAIN`.

    Raises:
        TenantError: one of them is no DNS label.
    """
    namespace, equals, domain = text.partition("=")
    for name in (namespace, domain) if equals else (namespace,):
        if not LABEL.match(name):
            raise TenantError(f"{name!r} in {text!r} is not a name of lower-case letters, digits and '-'. Correct it.")
    return Tenant(namespace, domain if equals else None)


def secret_key(root_secret: str, generation: int, namespace: str) -> str:
    """The secret key of a namespace: made of the root's and a generation, so that nothing else is stored."""
    text = f"kaon-store\0{generation}\0{namespace}".encode()
    return base64.urlsafe_b64encode(hmac.digest(root_secret.encode(), text, hashlib.sha256)).decode().rstrip("=")


def options(tenant: Tenant, secret: str, endpoint: str, authority: str) -> dict[str, str]:
    """The values of a namespace's Secret, under the names that the store's clients read."""
    return {
        "AWS_ACCESS_KEY_ID": tenant.user,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "ca.crt": authority,
    }


def accounts(tenants: Sequence[Tenant], root_secret: str, generation: int) -> str:
    """The server's file of users. None of them may make buckets or users."""
    found = {
        tenant.user: {
            "access": tenant.user,
            "secret": secret_key(root_secret, generation, tenant.namespace),
            "role": "user",
        }
        for tenant in tenants
    }
    return json.dumps({"accessAccounts": found})


def bucket_policy(bucket: str, tenants: Sequence[Tenant]) -> str:
    """The bucket's policy: for each namespace two statements, one for objects and one for lists. No match is a refusal.

    A list is allowed for a prefix with the slash, since `team` would also list `team-b`.
    """
    statements: list[dict[str, Any]] = []
    for tenant in tenants:
        principal = {"Effect": "Allow", "Principal": tenant.user}
        objects = [f"arn:aws:s3:::{bucket}/{folder}/*" for folder in tenant.folders]
        prefixes = [f"{folder}/*" for folder in tenant.folders]
        statements.append({**principal, "Action": OBJECT_ACTIONS, "Resource": objects})
        statements.append(
            {
                **principal,
                "Action": "s3:ListBucket",
                "Resource": f"arn:aws:s3:::{bucket}",
                "Condition": {"StringLike": {"s3:prefix": prefixes}},
            }
        )
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def bucket_acl(owner: str) -> str:
    """The bucket's owner, and grants to nobody."""
    return json.dumps({"Owner": owner, "Grantees": []}, separators=(",", ":"))
