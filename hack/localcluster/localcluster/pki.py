"""The cluster's certificates, made with the openssl command: the standard library cannot sign.

`ensure` is idempotent: what exists stays, so a restarted cluster keeps the identities that its clients know.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import LocalClusterError


@dataclass(frozen=True)
class Certificate:
    """One certificate to make: file name, who it speaks for, and the names a server is reached by."""

    file: str
    user: str
    group: str = ""
    names: Sequence[str] = ()
    authority: str = "ca"

    @property
    def subject(self) -> str:
        return (f"/O={self.group}" if self.group else "") + f"/CN={self.user}"


def certificates(node: str, node_ip: str, api_names: Sequence[str]) -> list[Certificate]:
    """All certificates of a cluster. The users and groups are those that Kubernetes' own RBAC rules speak of."""
    local = ("DNS:localhost", "IP:127.0.0.1")
    return [
        Certificate("apiserver", "kube-apiserver", names=(*local, *api_names)),
        Certificate("apiserver-kubelet", "kube-apiserver-kubelet", "system:masters"),
        Certificate("etcd", "etcd", names=local),
        Certificate("front-proxy", "front-proxy", authority="front-proxy-ca"),
        Certificate("admin", "kaon-admin", "system:masters"),
        Certificate("kube-controller-manager", "system:kube-controller-manager"),
        Certificate("kube-scheduler", "system:kube-scheduler"),
        Certificate("kube-proxy", "system:kube-proxy"),
        Certificate("coredns", "kaon:coredns"),
        Certificate("volume-recycler", "kaon:volume-recycler", "system:masters"),
        Certificate("kubelet", f"system:node:{node}", "system:nodes", names=(f"DNS:{node}", f"IP:{node_ip}", *local)),
    ]


def ensure(folder: Path, wanted: Sequence[Certificate]) -> None:
    """Makes what is missing: two authorities, the certificates, the service-account key pair."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for authority in ("ca", "front-proxy-ca"):
        if not (folder / f"{authority}.crt").exists():
            _openssl(folder, *_new_key(authority), "-subj", f"/CN=kaon-{authority}",
                     "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "subjectKeyIdentifier=hash",
                     "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")  # fmt: skip
    for certificate in wanted:
        if not (folder / f"{certificate.file}.crt").exists():
            extra = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature"]
            extra += ["-addext", "extendedKeyUsage=clientAuth,serverAuth"]
            extra += ["-addext", "subjectKeyIdentifier=hash", "-addext", "authorityKeyIdentifier=keyid"]
            if certificate.names:
                extra += ["-addext", "subjectAltName=" + ",".join(certificate.names)]
            signer = ["-CA", f"{certificate.authority}.crt", "-CAkey", f"{certificate.authority}.key"]
            _openssl(folder, *_new_key(certificate.file), "-subj", certificate.subject, *signer, *extra)
    if not (folder / "sa.pub").exists():
        _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key")
        _openssl(folder, "ec", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def _new_key(name: str) -> list[str]:
    """Elliptic curves: a whole PKI takes a fraction of a second where RSA keys take several."""
    return ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
            "-keyout", f"{name}.key", "-out", f"{name}.crt"]  # fmt: skip


def _openssl(folder: Path, *arguments: str) -> None:
    # The system's configuration may add extensions of its own; an empty one makes every host produce the same.
    env = {**os.environ, "OPENSSL_CONF": "/dev/null"}
    result = subprocess.run(["openssl", *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LocalClusterError(f"openssl {arguments[0]} failed: {result.stderr.strip()}")
