"""The command line of every component. Pure: paths and addresses in, arguments out."""

from __future__ import annotations

from localcluster.paths import Layout
from localcluster.record import Record

# A full cluster has a network namespace of its own, where the usual ports are free.
NODE_PORTS = {
    "etcd": 2379,
    "etcd-peer": 2380,
    "kube-apiserver": 6443,
    "kube-controller-manager": 10257,
    "kube-scheduler": 10259,
    "kube-proxy": 10256,
    "kubelet": 10250,
    "coredns": 8181,
}
CONTROL_PLANE_PORTS = ["etcd", "etcd-peer", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]


def etcd(layout: Layout, record: Record) -> list[str]:
    pki = layout.pki
    client = f"https://127.0.0.1:{record.ports['etcd']}"
    peer = f"https://127.0.0.1:{record.ports['etcd-peer']}"
    arguments = ["etcd", "--name=local", f"--data-dir={layout.state / 'etcd'}", "--logger=zap", "--log-level=warn"]
    # A local cluster has nothing to lose in a power cut, and waiting for the disk is most of what etcd does.
    arguments += ["--unsafe-no-fsync", "--auto-compaction-retention=5m", "--quota-backend-bytes=4294967296"]
    arguments += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    arguments += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
    arguments += [f"--initial-cluster=local={peer}"]
    for prefix in ("", "peer-"):
        arguments += [f"--{prefix}cert-file={pki / 'etcd.crt'}", f"--{prefix}key-file={pki / 'etcd.key'}"]
        arguments += [f"--{prefix}client-cert-auth", f"--{prefix}trusted-ca-file={pki / 'ca.crt'}"]
    return arguments + record.extra_args.get("etcd", [])


def kube_apiserver(layout: Layout, record: Record) -> list[str]:
    pki = layout.pki
    arguments = [
        "kube-apiserver",
        f"--etcd-servers=https://127.0.0.1:{record.ports['etcd']}",
        f"--etcd-cafile={pki / 'ca.crt'}",
        f"--etcd-certfile={pki / 'etcd.crt'}",
        f"--etcd-keyfile={pki / 'etcd.key'}",
        f"--bind-address={record.bind_ip}",
        f"--advertise-address={record.addresses.node_ip}",
        f"--secure-port={record.ports['kube-apiserver']}",
        f"--service-cluster-ip-range={record.addresses.service_cidr}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'sa.pub'}",
        f"--service-account-signing-key-file={pki / 'sa.key'}",
        # Aggregation: extension API servers trust these identities.
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy.key'}",
        "--enable-aggregator-routing",
        # Tests create thousands of objects from many clients; the defaults are those of a shared cluster.
        "--max-requests-inflight=2000",
        "--max-mutating-requests-inflight=1000",
        "--profiling=false",
    ]
    if record.audit:
        arguments += [f"--audit-policy-file={layout.config / 'audit-policy.json'}", f"--audit-log-path={layout.audit}"]
    if record.full:
        # By address: the node's name is in nobody's DNS.
        arguments += [
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            f"--kubelet-client-certificate={pki / 'apiserver-kubelet.crt'}",
            f"--kubelet-client-key={pki / 'apiserver-kubelet.key'}",
        ]
    else:
        # There is no node that the `kubernetes` Service could lead to.
        arguments += ["--endpoint-reconciler-type=none"]
    return arguments + record.extra_args.get("kube-apiserver", [])


def kube_controller_manager(layout: Layout, record: Record) -> list[str]:
    arguments = [
        *_client("kube-controller-manager", layout, record),
        "--use-service-account-credentials",
        f"--root-ca-file={layout.pki / 'ca.crt'}",
        f"--service-account-private-key-file={layout.pki / 'sa.key'}",
        f"--cluster-signing-cert-file={layout.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={layout.pki / 'ca.key'}",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--concurrent-job-syncs=20",
        "--concurrent-gc-syncs=40",
    ]
    if record.full:
        arguments += ["--allocate-node-cidrs", f"--cluster-cidr={record.addresses.pod_cidr}"]
        arguments += ["--node-cidr-mask-size=24", f"--service-cluster-ip-range={record.addresses.service_cidr}"]
    return arguments + record.extra_args.get("kube-controller-manager", [])


def kube_scheduler(layout: Layout, record: Record) -> list[str]:
    arguments = [*_client("kube-scheduler", layout, record), "--kube-api-qps=500", "--kube-api-burst=1000"]
    return arguments + record.extra_args.get("kube-scheduler", [])


def _client(name: str, layout: Layout, record: Record) -> list[str]:
    """What the controller manager and the scheduler have in common."""
    kubeconfig = layout.config / f"{name}.kubeconfig"
    return [
        name,
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={record.bind_ip}",
        f"--secure-port={record.ports[name]}",
        f"--tls-cert-file={layout.pki / 'apiserver.crt'}",
        f"--tls-private-key-file={layout.pki / 'apiserver.key'}",
        "--leader-elect=false",
        "--profiling=false",
    ]


def kubelet(layout: Layout, record: Record) -> list[str]:
    arguments = ["kubelet", f"--config={layout.config / 'kubelet.json'}", f"--root-dir={layout.state / 'kubelet'}"]
    arguments += [f"--kubeconfig={layout.config / 'kubelet.kubeconfig'}", f"--cert-dir={layout.pki}"]
    arguments += [f"--hostname-override={record.name}", f"--node-ip={record.addresses.node_ip}"]
    return arguments + record.extra_args.get("kubelet", [])


def kube_proxy(layout: Layout, record: Record) -> list[str]:
    arguments = ["kube-proxy", f"--config={layout.config / 'kube-proxy.json'}", f"--hostname-override={record.name}"]
    return arguments + record.extra_args.get("kube-proxy", [])


def coredns(layout: Layout, record: Record) -> list[str]:
    return ["coredns", "-conf", str(layout.config / "Corefile"), *record.extra_args.get("coredns", [])]


def volume_recycler(layout: Layout, record: Record) -> list[str]:
    return ["volume-recycler", f"-kubeconfig={layout.config / 'volume-recycler.kubeconfig'}", f"-root={layout.volumes}"]


def containerd(layout: Layout) -> list[str]:
    return ["containerd", "--config", str(layout.config / "containerd.toml"), "--log-level", "warn"]


def buildkitd(layout: Layout) -> list[str]:
    return ["buildkitd", f"--config={layout.config / 'buildkitd.toml'}", f"--addr=unix://{layout.buildkit_socket}"]
