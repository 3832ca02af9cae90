"""What is written for the components is what the design of the cluster relies on."""

from __future__ import annotations

import base64
import json
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localcluster import components, configs, host, images, paths
from localcluster.errors import LocalClusterError
from localcluster.health import component_names, ready_since
from localcluster.paths import Layout
from localcluster.record import Record, all_records, load

FULL = Record("demo", 2, True, components.NODE_PORTS)
CONTROL_PLANE = Record(
    "t1", None, False, {name: 21000 + index for index, name in enumerate(components.CONTROL_PLANE_PORTS)}
)


@pytest.fixture
def layout() -> Iterator[Layout]:
    # Not tmp_path: below a worker's folder the socket's path would be too long.
    with tempfile.TemporaryDirectory() as folder:
        yield paths.layout("demo", {"KAON_STATE": f"{folder}/state", "KAON_CACHE": f"{folder}/cache"})


def test_a_control_plane_speaks_on_the_loopback_only(layout: Layout) -> None:
    assert CONTROL_PLANE.server == f"https://127.0.0.1:{CONTROL_PLANE.ports['kube-apiserver']}"
    for command in (components.etcd, components.kube_apiserver, components.kube_controller_manager):
        for flag in command(layout, CONTROL_PLANE):
            if flag.startswith(("--listen", "--bind-address")):
                assert "127.0.0.1" in flag


@pytest.mark.parametrize("record", [FULL, CONTROL_PLANE])
def test_extra_flags_come_last_so_that_they_win(layout: Layout, record: Record) -> None:
    commands: dict[str, Callable[[Layout, Record], list[str]]] = {
        "etcd": components.etcd,
        "kube-apiserver": components.kube_apiserver,
        "kube-controller-manager": components.kube_controller_manager,
        "kube-scheduler": components.kube_scheduler,
    }
    extra = {name: [f"--{name}-flag"] for name in commands}
    wanted = Record(record.name, record.slot, record.scheduler, record.ports, extra)
    for name, command in commands.items():
        assert command(layout, wanted)[0] == name
        assert command(layout, wanted)[-1] == f"--{name}-flag"


def test_containerd_never_shares_a_folder_with_another_cluster_or_the_host(layout: Layout) -> None:
    parsed = tomllib.loads(configs.containerd(layout, FULL))
    cri = parsed["plugins"]["io.containerd.grpc.v1.cri"]
    folders = [
        parsed["root"],
        parsed["state"],
        parsed["grpc"]["address"],
        cri["cni"]["bin_dir"],
        cri["cni"]["conf_dir"],
    ]
    assert all(Path(folder).is_relative_to(layout.state.parent.parent) for folder in folders)
    assert cri["netns_mounts_under_state_dir"] is True


def test_exec_and_port_forward_stream_from_where_the_kubelet_can_reach(layout: Layout) -> None:
    parsed = tomllib.loads(configs.containerd(layout, FULL))
    assert parsed["plugins"]["io.containerd.grpc.v1.cri"]["stream_server_address"] == FULL.addresses.host_ip


def test_image_builds_have_the_hosts_network_and_the_nodes_store(layout: Layout) -> None:
    worker = tomllib.loads(configs.buildkitd(layout, FULL))["worker"]
    assert worker["oci"]["enabled"] is False
    assert worker["containerd"]["namespace"] == "k8s.io"
    assert worker["containerd"]["networkMode"] == "host"
    assert worker["containerd"]["defaultCgroupParent"].startswith("/kaon-demo/")


def test_pods_get_addresses_and_dns_of_their_cluster(layout: Layout) -> None:
    bridge = json.loads(configs.cni(layout, FULL))["plugins"][0]
    assert bridge["ipam"]["ranges"] == [[{"subnet": FULL.addresses.pod_cidr}]]
    kubelet = json.loads(configs.kubelet(layout, FULL))
    assert kubelet["clusterDNS"] == [FULL.addresses.node_ip]
    assert f"bind {FULL.addresses.node_ip}" in configs.corefile(layout, FULL)


def test_local_images_are_never_collected(layout: Layout) -> None:
    assert json.loads(configs.kubelet(layout, FULL))["imageGCHighThresholdPercent"] == 100


def test_a_kubeconfig_carries_its_certificates(tmp_path: Path) -> None:
    for file in ("ca.crt", "admin.crt", "admin.key"):
        (tmp_path / file).write_text(file)
    document = json.loads(configs.kubeconfig("https://127.0.0.1:1", tmp_path, "admin", "demo"))
    assert base64.b64decode(document["users"][0]["user"]["client-key-data"]) == b"admin.key"
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
    assert document["current-context"] == "demo"


def test_the_first_objects_are_named_as_their_path_says_and_one_class_is_the_default(layout: Layout) -> None:
    objects = configs.first_objects(layout, FULL)
    assert all(path.endswith("/" + manifest["metadata"]["name"]) for path, manifest in objects)
    classes = [manifest for _, manifest in objects if manifest["kind"] == "StorageClass"]
    assert [found["metadata"]["name"] for found in classes] == ["standard"]
    volumes = [manifest["spec"]["local"]["path"] for _, manifest in objects if manifest["kind"] == "PersistentVolume"]
    assert len(set(volumes)) == configs.VOLUMES
    assert all(Path(folder).parent == layout.volumes for folder in volumes)


def test_a_control_plane_has_no_node_components() -> None:
    assert component_names(CONTROL_PLANE) == ["etcd", "kube-apiserver", "kube-controller-manager"]
    assert {"kubelet", "containerd", "kube-scheduler"} <= set(component_names(FULL))


def test_a_record_survives_being_written_and_is_listed(tmp_path: Path) -> None:
    FULL.save(tmp_path / "demo" / "cluster.json")
    CONTROL_PLANE.save(tmp_path / "t1" / "cluster.json")
    assert load(tmp_path / "demo" / "cluster.json") == FULL
    assert list(all_records(tmp_path)) == [FULL, CONTROL_PLANE]
    assert load(tmp_path / "absent" / "cluster.json") is None


@pytest.mark.parametrize("name", ["", "Demo", "a/b", "../x", "-a", "a-", "x" * 33])
def test_names_that_cannot_name_a_node_are_refused(name: str) -> None:
    with pytest.raises(LocalClusterError, match="cluster name"):
        paths.layout(name)


def test_a_state_folder_too_deep_for_a_socket_is_refused_with_the_way_out() -> None:
    with pytest.raises(LocalClusterError, match="KAON_STATE"):
        paths.layout("demo", {"KAON_STATE": "/" + "deep/" * 25})


def test_only_a_ready_condition_newer_than_the_crash_counts() -> None:
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:10Z"}
    at = 1767225610.0
    assert ready_since([ready], at)
    assert not ready_since([ready], at + 1)
    assert not ready_since([{**ready, "status": "Unknown"}], 0)
    assert not ready_since([], 0)


def test_a_build_hands_on_the_hosts_proxy_and_authorities_but_keeps_them_out_of_the_image(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    env = {"SSL_CERT_FILE": str(bundle), "https_proxy": "http://proxy:1", "HOME": "/home"}
    command = images.build_command(
        Path("buildctl"),
        tmp_path / "sock",
        "localhost/x:1",
        Path("/c/Containerfile"),
        Path("/c"),
        {"A": "1"},
        [],
        "",
        env,
    )
    assert f"id=ca,src={bundle}" in command
    assert "build-arg:https_proxy=http://proxy:1" in command
    assert "build-arg:A=1" in command
    assert not any("build-arg:SSL" in part or "HOME" in part for part in command)


def test_a_secret_of_the_callers_own_is_not_replaced(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    command = images.build_command(
        Path("b"), Path("s"), "t", Path("/c/F"), Path("/c"), {}, ["id=ca,src=/mine"], "", {"PIP_CERT": str(bundle)}
    )
    assert [part for part in command if part.startswith("id=ca")] == ["id=ca,src=/mine"]


def test_only_local_images_that_nobody_uses_are_pruned() -> None:
    # Each also has a name by its id, which would keep the content of an image that is otherwise gone.
    present = {
        "localhost/a:1": "sha256:1",
        "localhost/a:2": "sha256:2",
        "localhost/same:2": "sha256:2",
        "sha256:id1": "sha256:1",
        "sha256:id2": "sha256:2",
        "docker.io/library/x:1": "sha256:3",
        "sha256:id3": "sha256:3",
    }
    assert images.unused(present, {"localhost/a:2"}) == ["localhost/a:1", "localhost/same:2", "sha256:id1"]


def test_the_clusters_addresses_never_go_through_a_proxy() -> None:
    assert host.environment({"NO_PROXY": "corp"})["no_proxy"] == "corp,127.0.0.1,localhost,198.18.0.0/15"
    assert host.environment({})["NO_PROXY"] == "127.0.0.1,localhost,198.18.0.0/15"


def test_a_package_is_missing_only_when_no_proof_of_it_exists(tmp_path: Path) -> None:
    proof = tmp_path / "plugin"
    proof.touch()
    wanted = {"here": ["/nowhere", str(proof)], "shell": ["sh"], "absent": ["/nowhere", "no-such-program-at-all"]}
    assert host.missing_packages(wanted) == ["absent"]
