"""The configuration files of the components and the first objects of a cluster. Pure: returns texts and manifests."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from localcluster.paths import Layout
from localcluster.record import Record

PAUSE_IMAGE = "localhost/kaon-pause:1"
VOLUMES = 12
VOLUME_SIZE = "20Gi"


def kubeconfig(server: str, pki: Path, user: str, cluster: str) -> str:
    """Self-contained, so that one file can be copied into a container or onto another machine."""

    def embedded(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": embedded("ca.crt")}}
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": embedded(f"{user}.crt"),
                    "client-key-data": embedded(f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user, "namespace": "default"}}],
        "current-context": cluster,
    }
    return json.dumps(document, indent=2)


def kubelet(layout: Layout, record: Record) -> str:
    pki = layout.pki
    document = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": record.addresses.node_ip,
        "healthzBindAddress": record.addresses.node_ip,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup(record.name)}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        # A laptop's disk is rarely half empty; evicting at Kubernetes' own thresholds would leave nothing running.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # Local images cannot be pulled again: never collect them.
        "imageGCHighThresholdPercent": 100,
        # Needs CAP_SYS_RESOURCE, which containers and some virtual machines lack.
        "oomScoreAdj": 0,
        "clusterDNS": [record.addresses.node_ip],
        "clusterDomain": "cluster.local",
        "resolvConf": str(layout.config / "resolv.conf"),
        "podLogsDir": str(layout.state / "pod-logs"),
        # A changed ConfigMap reaches its pods at their next sync: within seconds here, where a router waits for it.
        "syncFrequency": "10s",
        "maxPods": 200,
        "registryPullQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "serializeImagePulls": False,
    }
    return json.dumps(document, indent=2)


def kube_proxy(layout: Layout, record: Record) -> str:
    document = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(layout.config / "kube-proxy.kubeconfig")},
        "clusterCIDR": record.addresses.pod_cidr,
        "bindAddress": record.addresses.node_ip,
        "healthzBindAddress": f"{record.addresses.node_ip}:{record.ports['kube-proxy']}",
        "metricsBindAddress": f"{record.addresses.node_ip}:10249",
        # Connection-tracking limits are the host's, not ours to change.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "oomScoreAdj": 0,
        "nftables": {"minSyncPeriod": "100ms"},
    }
    return json.dumps(document, indent=2)


def containerd(layout: Layout, record: Record) -> str:
    return f"""version = 2
root = "{layout.store / "containerd"}"
state = "{layout.state / "containerd"}"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{layout.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{layout.state / "containerd-opt"}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE every pod would fail: "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  # The kubelet lives in the cluster's network namespace and streams exec, attach and port-forward from here.
  stream_server_address = "{record.addresses.host_ip}"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{layout.config / "cni-bin"}"
    conf_dir = "{layout.config / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def cni(layout: Layout, record: Record) -> str:
    document = {
        "cniVersion": "0.4.0",
        "name": "kaon",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods",
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(layout.state / "cni"),
                    "ranges": [[{"subnet": record.addresses.pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    return json.dumps(document, indent=2)


def cni_wrapper(layout: Layout, plugin: Path) -> str:
    """containerd runs in the host's network (so that image builds have it); its CNI plugins must not."""
    return f'#!/bin/sh\nexec nsenter --net={layout.netns} {plugin} "$@"\n'


def buildkitd(layout: Layout, record: Record) -> str:
    return f"""root = "{layout.store / "buildkit"}"
[worker.oci]
  enabled = false
[worker.containerd]
  address = "{layout.containerd_socket}"
  namespace = "k8s.io"
  snapshotter = "overlayfs"
  networkMode = "host"
  defaultCgroupParent = "/{cgroup(record.name)}/build"
  gc = false
"""


def corefile(layout: Layout, record: Record) -> str:
    return f"""cluster.local in-addr.arpa {{
    bind {record.addresses.node_ip}
    ready {record.addresses.node_ip}:{record.ports["coredns"]}
    errors
    cache 5
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {layout.config / "coredns.kubeconfig"} {record.name}
        pods insecure
        ttl 5
    }}
}}
"""


def cgroup(name: str) -> str:
    return f"kaon-{name}"


def first_objects(layout: Layout, record: Record) -> list[tuple[str, dict[str, Any]]]:
    """What a full cluster starts with, as (API path, manifest): DNS rights, the storage class, the volumes."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "kaon:coredns"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kaon:coredns"}
    read = ["get", "list", "watch"]
    objects: list[tuple[str, dict[str, Any]]] = [
        (
            f"{rbac}/clusterroles/kaon:coredns",
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "rules": [
                    {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": read},
                    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
                ],
            },
        ),
        (
            f"{rbac}/clusterrolebindings/kaon:coredns",
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "subjects": [subject],
                "roleRef": role,
            },
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses/standard",
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
                "provisioner": "kubernetes.io/no-provisioner",
                "volumeBindingMode": "WaitForFirstConsumer",
            },
        ),
    ]
    for number in range(VOLUMES):
        name = f"local-{number}"
        objects.append(
            (f"/api/v1/persistentvolumes/{name}", _volume(str(layout.volumes / name), record.name)),
        )
    for path, manifest in objects:
        manifest.setdefault("metadata", {})["name"] = path.rpartition("/")[2]
    return objects


def _volume(folder: str, node: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "spec": {
            "capacity": {"storage": VOLUME_SIZE},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"],
            # volume-recycler empties a released volume and offers it again; Kubernetes itself only keeps or deletes.
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "standard",
            "local": {"path": folder},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }
