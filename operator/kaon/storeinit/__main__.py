"""Init container of the embedded store: its bucket with the rights, its users, its certificate, and their Secrets.

A chart cannot make credentials: what is random at one rendering is another thing at the next. So the store's own pod
makes a root key and a certificate once, and keeps both in a Secret of its namespace that only its pods mount. The keys
of the namespaces follow from the root key. The server reads users and rights at its start; so each change of the
chart's values is a new pod, and this runs again.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from kubernetes import config
from kubernetes.client.exceptions import ApiException

from kaon.storeinit import certificate, tenants
from kaon.storeinit.cluster import Cluster
from kaon.storeinit.tenants import Tenant, TenantError

log = logging.getLogger("kaon.storeinit")

LOOPBACK = ("localhost", "127.0.0.1")
"""A client that comes through `kubectl port-forward` speaks to these."""
# Where the server keeps a bucket's policy and owner. What it does not find or cannot read there, it refuses.
POLICY_ATTRIBUTE, ACL_ATTRIBUTE = "user.policy", "user.acl"


def root_values(cluster: Cluster, home: str, hosts: Sequence[str], now: datetime) -> dict[str, str]:
    """The root's key and the certificate: those of the Secret, or new ones that are in it now."""
    values = cluster.read(home)
    if values is None:
        values = {
            "ROOT_ACCESS_KEY": f"root-{secrets.token_hex(8)}",
            "ROOT_SECRET_KEY": secrets.token_urlsafe(32),
            **_certificate(hosts, now),
        }
        if cluster.create(home, values):
            log.info(f"created the root's key and the certificate in {home}")
        else:
            values = cluster.read(home) or values
    missing = [name for name in ("ROOT_ACCESS_KEY", "ROOT_SECRET_KEY") if not values.get(name)]
    if missing:
        raise TenantError(
            f"The Secret with the store's root key in {home} lacks {' and '.join(missing)}. Add them, or delete the "
            "Secret: the store makes a new one."
        )
    if not certificate.serves(values.get("tls.crt", ""), hosts, now):
        values = {**values, **_certificate(hosts, now)}
        cluster.ensure(home, values)
    return values


def _certificate(hosts: Sequence[str], now: datetime) -> dict[str, str]:
    made = certificate.make(hosts, now)
    return {"ca.crt": made.authority, "tls.crt": made.certificate, "tls.key": made.key}


def write_private(folder: Path, name: str, text: str) -> None:
    """A file that the server's user alone reads."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.touch(mode=0o600)
    file.write_text(text)


def make_bucket(folder: Path, owner: str, found: Sequence[Tenant]) -> None:
    """The bucket's folder with its owner and its policy.

    Raises:
        TenantError: the volume's file system has no room for a policy of this size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    policy = tenants.bucket_policy(folder.name, found).encode()
    try:
        os.setxattr(folder, ACL_ATTRIBUTE, tenants.bucket_acl(owner).encode())
        os.setxattr(folder, POLICY_ATTRIBUTE, policy)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.E2BIG, errno.ERANGE):
            raise
        raise TenantError(
            f"The rights of {len(found)} namespaces need {len(policy)} bytes in an extended attribute, which the file "
            f"system of {folder} does not hold ({os.strerror(error.errno)}). Use a volume with XFS (up to 65,536 "
            "bytes), list fewer store.namespaces, or use an object store of your own."
        ) from error


def prepare(options: argparse.Namespace, root: Cluster, clients: Cluster, now: datetime) -> None:
    """Everything that the server and its clients need before it starts."""
    found = [tenants.parse(text) for text in dict.fromkeys(options.tenant)]
    host = urlsplit(options.endpoint).hostname or ""
    values = root_values(root, options.home, (host, *LOOPBACK), now)
    secret = values["ROOT_SECRET_KEY"]
    make_bucket(options.bucket_folder, values["ROOT_ACCESS_KEY"], found)
    write_private(options.server_folder / "users", "users.json", tenants.accounts(found, secret, options.generation))
    write_private(options.server_folder, "tls.crt", values["tls.crt"])
    write_private(options.server_folder, "tls.key", values["tls.key"])
    for tenant in found:
        key = tenants.secret_key(secret, options.generation, tenant.namespace)
        clients.ensure(tenant.namespace, tenants.options(tenant, key, options.endpoint, values["ca.crt"]))


def parser() -> argparse.ArgumentParser:
    """The arguments that the chart gives."""
    found = argparse.ArgumentParser(prog="python -m kaon.storeinit", description="Prepare the embedded store.")
    found.add_argument(
        "--root-secret", required=True, help="name of the Secret with the root's key and the certificate"
    )
    found.add_argument("--client-secret", required=True, help="name of the Secret in each namespace")
    found.add_argument("--home", required=True, help="the store's own namespace")
    found.add_argument("--endpoint", required=True, help="URL of the store, for its clients")
    found.add_argument(
        "--tenant", action="append", required=True, help="NAMESPACE, or NAMESPACE=DOMAIN for a shared trust domain"
    )
    found.add_argument("--generation", type=int, default=1, help="another number makes other keys (default: 1)")
    found.add_argument("--bucket-folder", type=Path, required=True, help="folder of the bucket on the store's volume")
    found.add_argument(
        "--server-folder", type=Path, required=True, help="folder for the server's users and certificate"
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs once in the init container; fails with a sentence, so that the kubelet tries again."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config.load_config()  # type: ignore[no-untyped-call]
        prepare(options, Cluster(options.root_secret), Cluster(options.client_secret), datetime.now(UTC))
    except ApiException as error:
        # Not the traceback: it holds the request, and the request holds the credentials.
        log.error(f"the API server answered {error.status} {error.reason}: {error.body}")
        return 1
    except TenantError as error:
        log.error(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
