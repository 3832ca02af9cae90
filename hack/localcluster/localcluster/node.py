"""What a full cluster takes from the host: namespaces, a veth pair, cgroups. Needs root.

One anchor process holds a network and a mount namespace. Every other process of the node joins them, so nearly all
that a node leaves behind (interfaces, rules, mounts) vanishes with its last process. Left are cgroups, which `remove`
takes away, and the state folder.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from localcluster import configs, files
from localcluster.errors import LocalClusterError
from localcluster.paths import Layout
from localcluster.processes import Process
from localcluster.record import Record

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"]
CNI_PLUGINS = [Path("/usr/lib/cni"), Path("/opt/cni/bin")]
# Paths that the kubelet, containerd and the CNI library have built in. Each cluster sees its own folder there.
PRIVATE_FOLDERS = {
    "/var/lib/kubelet": "kubelet-fixed",
    "/var/lib/cni": "cni-fixed",
    "/var/log/containers": "container-logs",
    "/run/containerd": "containerd-run",
}


def run(*command: str) -> str:
    """Runs a host command; a failure names the command and what it said."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LocalClusterError(f"{' '.join(command)}: {(result.stderr or result.stdout).strip()}")
    return result.stdout


def enter(anchor: Process, *, network: bool = True, mounts: bool = True) -> list[str]:
    """The prefix that runs a command inside the node's namespaces."""
    wanted = (["--net"] if network else []) + (["--mount"] if mounts else [])
    return ["nsenter", f"--target={anchor.pid}", *wanted, "--"]


def anchor_command(pause: Path) -> list[str]:
    # Slave: what the host mounts later is seen here, what the node mounts is never seen by the host.
    return ["unshare", "--net", "--mount", "--propagation", "slave", "--", str(pause)]


def prepare_mounts(layout: Layout, anchor: Process) -> None:
    """Gives the node its own view of the fixed paths, and the CNI plugins a file that is its network namespace."""
    script = ["set -e", "mount --make-rshared /"]  # volumes with mount propagation need a shared root
    for fixed, own in PRIVATE_FOLDERS.items():
        folder = layout.state / own
        folder.mkdir(parents=True, exist_ok=True)
        Path(fixed).mkdir(parents=True, exist_ok=True)
        script.append(f"mount --bind '{folder}' '{fixed}'")
    layout.netns.touch()
    script.append(f"mount --bind /proc/{anchor.pid}/ns/net '{layout.netns}'")
    # /proc is the host's: the anchor has no pid namespace of its own.
    run(*enter(anchor, network=False), "sh", "-c", "\n".join(script))


def prepare_network(record: Record, anchor: Process) -> None:
    """A veth pair to the host, a route to pods and services, and forwarding inside the node."""
    slot = record.addresses
    inside = enter(anchor, mounts=False)
    run("ip", "link", "add", slot.link, "type", "veth", "peer", "name", "uplink", "netns", str(anchor.pid))
    run("ip", "addr", "add", f"{slot.host_ip}/24", "dev", slot.link)
    run("ip", "link", "set", slot.link, "up")
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "addr", "add", f"{slot.node_ip}/24", "dev", "uplink"],
        ["ip", "link", "set", "uplink", "up"],
        ["ip", "route", "add", "default", "via", slot.host_ip],
        ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0"],
    ):
        run(*inside, *command)
    for destination in (slot.pod_cidr, slot.service_cidr):
        run("ip", "route", "replace", destination, "via", slot.node_ip, "dev", slot.link)


def slots_in_use() -> set[int]:
    """Slots whose link exists on this host, whatever user it belongs to (each has a state folder of its own)."""
    links = json.loads(run("ip", "-json", "link", "show"))
    names = [link["ifname"].partition("@")[0] for link in links]
    return {int(name[4:]) for name in names if name.startswith("kaon") and name[4:].isdigit()}


def hierarchies() -> list[Path]:
    """The cgroup trees in which a process can be limited: one of version 2, or one a controller of version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    # Controllers that share a tree (cpu,cpuacct) appear as links to it.
    return [tree for tree in sorted(CGROUPS.iterdir()) if tree.is_dir() and not tree.is_symlink()]


def make_cgroups(name: str) -> None:
    """The kubelet wants its root to exist in every hierarchy before it starts."""
    for tree in hierarchies():
        folder = tree / configs.cgroup(name)
        folder.mkdir(exist_ok=True)
        if tree == CGROUPS:  # version 2: a child has only the controllers that its parents hand down
            offered = (tree / "cgroup.controllers").read_text().split()
            enabled = " ".join(f"+{controller}" for controller in CONTROLLERS if controller in offered)
            (tree / "cgroup.subtree_control").write_text(enabled)
            (folder / "cgroup.subtree_control").write_text(enabled)
        if tree.name == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                (folder / file).write_text((tree / file).read_text())


def cgroup_processes(name: str) -> set[int]:
    """The processes of all containers (and image build steps) of a cluster."""
    found: set[int] = set()
    for tree in hierarchies():
        for file in (tree / configs.cgroup(name)).glob("**/cgroup.procs"):
            try:
                found.update(int(line) for line in file.read_text().split())
            except OSError:
                continue  # the container ended while we looked
    return found


def remove_cgroups(name: str) -> None:
    """Deepest first; the kernel takes a moment to let go of a cgroup whose processes have just ended."""
    for tree in hierarchies():
        top = tree / configs.cgroup(name)
        for folder in sorted([*top.glob("**/"), top], key=lambda path: len(path.parts), reverse=True):
            _remove_cgroup(folder)


def _remove_cgroup(folder: Path) -> None:
    for attempt in range(200):  # until init, which inherits the orphans, has reaped them
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if attempt == 199:
                raise
            time.sleep(0.1)
        else:
            return


def stray_mounts(layout: Layout) -> list[str]:
    """Mounts below the state folder that are visible on the host; deepest first. Normally there are none."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if Path(point).is_relative_to(layout.state) or Path(point).is_relative_to(layout.store):
            found.append(point)
    return sorted(found, key=len, reverse=True)


def remove(record: Record, layout: Layout) -> None:
    """Takes away what does not vanish with the processes."""
    if Path(f"/sys/class/net/{record.addresses.link}").exists():
        run("ip", "link", "del", record.addresses.link)
    for point in stray_mounts(layout):
        run("umount", "--lazy", point)
    remove_cgroups(record.name)


def remove_fixed_folders() -> None:
    """The mount points in PRIVATE_FOLDERS, when empty. Only when no cluster runs: removing a folder that another
    mount namespace uses as a mount point detaches that mount."""
    for fixed in PRIVATE_FOLDERS:
        try:
            Path(fixed).rmdir()
        except OSError:
            continue  # absent, or somebody else's: the host's own containerd or kubelet


def cni_plugin(name: str) -> Path:
    for folder in CNI_PLUGINS:
        if (folder / name).exists():
            return folder / name
    raise LocalClusterError(f"CNI plugin {name} is missing: install containernetworking-plugins")


def write_cni(layout: Layout, record: Record) -> None:
    """The network's configuration, and a wrapper for every plugin it calls."""
    for plugin in ("bridge", "host-local", "loopback", "portmap"):
        files.write(layout.config / "cni-bin" / plugin, configs.cni_wrapper(layout, cni_plugin(plugin)), mode=0o755)
    files.write(layout.config / "cni" / "10-kaon.conflist", configs.cni(layout, record))
