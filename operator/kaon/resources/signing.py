"""The Secret with a trust domain's keys, shared by all stages and servers of a namespace, and how it is mounted."""

from __future__ import annotations

import base64
from functools import lru_cache

from kaon.contract.jobspec import SIGNING_KEY_FILE, SIGNING_SECRET, TRUST_DIR, TRUSTED_KEYS_FILE
from kaon.contract.signing import SigningKey
from kaon.resources import labels
from kaon.resources.base import Child, Object

VOLUME = "trust"


@lru_cache(maxsize=1024)
def signing_secret(namespace: str, key: SigningKey) -> Child:
    """The Secret. The operator may create it and not read it; one that is there stays as it is."""
    files = {SIGNING_KEY_FILE: key.pem, TRUSTED_KEYS_FILE: key.public.pem}
    secret: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": SIGNING_SECRET,
            "namespace": namespace,
            "labels": {labels.MANAGED_BY: labels.MANAGER, labels.COMPONENT: "trust"},
        },
        "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }
    return Child(secret, mode="provide", owned=False)


def trust_volume(*, signs: bool) -> tuple[Object, Object]:
    """The volume and its mount. `signs`: with the private key, for stages; servers only verify.

    Optional for the kubelet, as store Secrets are: what is missing becomes a message.
    """
    files = [TRUSTED_KEYS_FILE, *([SIGNING_KEY_FILE] if signs else [])]
    volume = {
        "name": VOLUME,
        "secret": {
            "secretName": SIGNING_SECRET,
            "optional": True,
            "defaultMode": 0o440,
            "items": [{"key": name, "path": name} for name in files],
        },
    }
    return volume, {"name": VOLUME, "mountPath": TRUST_DIR, "readOnly": True}
