"""One cluster from outside: `up`, `down`, `status`, images, commands in its network.

This is the API of test fixtures and scripts; cli.py is a thin layer over it. Everything about a cluster lies in its
state folder, so any process may take up a cluster that another one started.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from localcluster import addresses, components, configs, files, health, host, images, node, paths, pki, processes, tools
from localcluster.api import Api
from localcluster.audit import audit_events, audit_policy
from localcluster.errors import LocalClusterError
from localcluster.record import Record, all_records, load

CLIENTS = ["admin", "kube-controller-manager", "kube-scheduler"]
NODE_CLIENTS = ["kube-proxy", "coredns", "kubelet", "volume-recycler"]


class Cluster:
    """A cluster by name; it need not exist yet."""

    def __init__(
        self,
        name: str = "kaon",
        *,
        control_plane_only: bool = False,
        scheduler: bool = False,
        extra_args: Mapping[str, Sequence[str]] | None = None,
        audit: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        """`scheduler` adds kube-scheduler to a control plane without a node (for fake nodes); `extra_args` are more
        flags by component name, fixed when the cluster is created; `audit` lets the API server write down what
        service accounts ask for, from then on (see `audited`)."""
        self.name = name
        self.control_plane_only = control_plane_only
        self.layout = paths.layout(name)
        self._scheduler = scheduler or not control_plane_only
        self._extra_args = {component: list(flags) for component, flags in (extra_args or {}).items()}
        self._audit = audit
        self._say = say
        self._began = time.monotonic()

    # -- what others need to know ---------------------------------------------------------------------------------

    @property
    def record(self) -> Record:
        record = load(self.layout.record)
        if record is None:
            raise LocalClusterError(f"there is no cluster {self.name!r}: bring it up first")
        return record

    @property
    def kubeconfig(self) -> Path:
        return self.layout.kubeconfig

    @property
    def server(self) -> str:
        return self.record.server

    @property
    def host_address(self) -> str:
        """Where pods reach a server that runs on the host."""
        return self.record.addresses.host_ip if self.record.full else "127.0.0.1"

    @property
    def env(self) -> dict[str, str]:
        """An environment in which kubectl and helm speak to this cluster."""
        return {**host.environment(os.environ), "KUBECONFIG": str(self.kubeconfig)}

    def api(self) -> Api:
        return Api(self.server, self.layout.pki)

    def tool(self, program: str) -> Path:
        return tools.tool(program, self._step)

    def kubectl(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[Any]:
        """Runs kubectl against this cluster; options are those of subprocess.run."""
        return subprocess.run([str(self.tool("kubectl")), *arguments], env=self.env, **{"check": True, **options})

    def wait_for_crds(self, seconds: float = 30.0) -> None:
        """Returns when every CustomResourceDefinition is served.

        kubectl's own wait gives up at once on one that was made just now and has no conditions yet.
        """
        command = ("wait", "--for=condition=Established", "crd", "--all", f"--timeout={seconds:.0f}s")
        deadline = time.monotonic() + seconds
        while (done := self.kubectl(*command, check=False, capture_output=True, text=True)).returncode:
            if time.monotonic() > deadline:
                raise LocalClusterError(f"not every CRD is served after {seconds:.0f} s: {done.stderr.strip()}")
            time.sleep(0.2)

    def audited(self) -> Iterator[dict[str, Any]]:
        """The audit events so far, in their order: requests of service accounts other than Kubernetes' own."""
        return audit_events(self.layout.audit)

    # -- life and death -------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Brings the cluster up, or what of it is not running; returns when it can be used."""
        self._began = time.monotonic()
        host.check(not self.control_plane_only, self._step)
        with tools.locked(self._lock):
            fresh = not (self.layout.state / "etcd").exists()
            record = self._decide()
            programs = self._programs(record)
            self._write_identities(record)
            if record.full:
                self._start_node_base(record, fresh)
            self._start_control_plane(record, programs)
            if record.full:
                self._start_node(record)
            # Until it exists every pod in the namespace is refused.
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            self._wait("the default service account", lambda: self._answers(account))
        self._step(f"ready: {record.server}")

    def down(self, *, purge: bool = False) -> None:
        """Stops everything of this cluster and removes every trace; with purge also its images."""
        self._began = time.monotonic()
        with tools.locked(self._lock):
            record = load(self.layout.record)
            self._end_everything(record)
            if record and record.full:
                node.remove(record, self.layout)
            if self.layout.state.exists():
                shutil.rmtree(self.layout.state)
            if purge and self.layout.store.exists():
                shutil.rmtree(self.layout.store)
            if record and record.full and not node.slots_in_use():
                node.remove_fixed_folders()
        self._step(f"{self.name} is down")

    def node_ready(self) -> bool:
        """Does the node accept pods?"""
        return health.node_ready(self.api(), self.name)

    def status(self) -> list[tuple[str, str, str]]:
        """(component, pid, state) of every component that this cluster should have."""
        record = self.record
        rows = []
        for name in health.component_names(record):
            process = processes.recorded(self.layout.state, name)
            if process is None or not process.alive():
                rows.append((name, "-", "not running"))
            else:
                rows.append(
                    (name, str(process.pid), "healthy" if health.healthy(self.layout, record, name) else "not healthy")
                )
        return rows

    # -- images and commands --------------------------------------------------------------------------------------

    def build_image(
        self,
        tag: str,
        file: str | Path,
        context: str | Path,
        *,
        build_args: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        target: str = "",
        quiet: bool = True,
    ) -> None:
        """Builds a Containerfile straight into the node's image store; quiet shows the output only of a failure."""
        self._full()
        images.build(self.layout, tools.tool("buildctl", self._step), tag, Path(file), Path(context),
                     build_args or {}, secrets, target, quiet)  # fmt: skip

    def base_image(self) -> str:
        """Makes sure that the Debian base image is in the node's store and returns its name."""
        self._full()
        return images.base(self.layout, self._step)

    def has_image(self, tag: str) -> bool:
        self._full()
        return tag in images.names(self.layout)

    def prune(self) -> list[str]:
        """Removes images that no pod uses, and the build cache that was last used two days ago."""
        self._full()
        pods = self.api().request("GET", "/api/v1/pods")["items"]
        containers = [
            container
            for pod in pods
            for kind in ("containers", "initContainers")
            for container in pod["spec"].get(kind, [])
        ]
        used = {container["image"] for container in containers} | {images.BASE_IMAGE, configs.PAUSE_IMAGE}
        return images.prune(self.layout, tools.tool("buildctl", self._step), used)

    def run_in_netns(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Runs a command in the node's network, with KUBECONFIG set; options are those of subprocess.run. A control
        plane without a node lives in the host's network, and so does the command."""
        options = {"check": True, "env": self.env, **options}
        prefix = node.enter(self._anchor(), mounts=False) if self.record.full else []
        return subprocess.run([*prefix, *command], **options)

    # -- the steps of up ------------------------------------------------------------------------------------------

    @property
    def _lock(self) -> Path:
        # Outside the cluster's own folder, which `down` removes while it holds the lock.
        return paths.state_root() / ".locks" / self.name

    def _step(self, message: str) -> None:
        self._say(f"[{time.monotonic() - self._began:6.1f}s] {message}")

    def _full(self) -> Record:
        if not self.record.full:
            raise LocalClusterError(f"cluster {self.name!r} is a control plane without a node: it has no images")
        return self.record

    def _decide(self) -> Record:
        """The cluster's record: the one it was created with, or a new one with addresses nobody else has."""
        record = load(self.layout.record)
        if record:
            if record.full == self.control_plane_only:
                kind = "a full cluster" if record.full else "a control plane without a node"
                raise LocalClusterError(f"{self.name!r} exists and is {kind}: take it down first, or use another name")
            return self._with_audit(record)
        with tools.locked(paths.state_root() / ".locks" / ".addresses"):
            others = list(all_records(paths.state_root()))
            if self.control_plane_only:
                names = components.CONTROL_PLANE_PORTS
                taken = {port for other in others for port in other.ports.values()}
                ports = dict(zip(names, addresses.free_ports(len(names), taken), strict=True))
                record = Record(self.name, None, self._scheduler, ports, self._extra_args, self._audit)
            else:
                taken = {other.slot for other in others if other.slot is not None} | node.slots_in_use()
                slot = addresses.choose_slot(taken).number
                record = Record(self.name, slot, True, components.NODE_PORTS, self._extra_args, self._audit)
            record.save(self.layout.record)
        return record

    def _with_audit(self, record: Record) -> Record:
        """An API server without an audit log is started again with one. A call that asks for none leaves it on."""
        if record.audit or not self._audit:
            return record
        record = replace(record, audit=True)
        record.save(self.layout.record)
        self._end("kube-apiserver")
        return record

    def _programs(self, record: Record) -> Path:
        """The folder of the cluster's binaries; builds all that will be needed before anything is started."""
        folder = self.tool("kube-apiserver").parent
        if record.full:
            self.tool("pause")
            self.tool("buildkitd")
        return folder

    def _write_identities(self, record: Record) -> None:
        slot = record.addresses
        names = [f"IP:{slot.api_service_ip}", f"IP:{slot.node_ip}", f"DNS:{record.name}"]
        service = ["kubernetes", "default", "svc", "cluster", "local"]
        names += [f"DNS:{'.'.join(service[:length])}" for length in range(1, len(service) + 1)]
        pki.ensure(self.layout.pki, pki.certificates(record.name, slot.node_ip, names))
        self.layout.config.mkdir(parents=True, exist_ok=True)
        for user in CLIENTS + (NODE_CLIENTS if record.full else []):
            file = self.layout.kubeconfig if user == "admin" else self.layout.config / f"{user}.kubeconfig"
            files.write(file, configs.kubeconfig(record.server, self.layout.pki, user, record.name), mode=0o600)

    def _start_control_plane(self, record: Record, programs: Path) -> None:
        layout = self.layout
        if record.audit:
            files.write(layout.config / "audit-policy.json", audit_policy())
        self._start(record, "etcd", components.etcd(layout, record), programs)
        self._start(record, "kube-apiserver", components.kube_apiserver(layout, record), programs)
        self._wait_for(record, "kube-apiserver")
        self._start(record, "kube-controller-manager", components.kube_controller_manager(layout, record), programs)
        if record.scheduler:
            self._start(record, "kube-scheduler", components.kube_scheduler(layout, record), programs)
            self._wait_for(record, "kube-scheduler")
        self._wait_for(record, "kube-controller-manager")

    def _start_node_base(self, record: Record, fresh: bool) -> None:
        """Namespaces, network, containerd and the sandbox image: all that the kubelet takes for granted."""
        anchor = processes.recorded(self.layout.state, "anchor")
        if anchor is None or not anchor.alive():
            # Without the anchor the rest has lost the way in for newcomers: start over on the same state.
            self._end_everything(record)
            node.remove(record, self.layout)
            self._step("creating the node's namespaces and network")
            processes.spawn(self.layout.state, "anchor", node.anchor_command(self.tool("pause")), os.environ)
            anchor = self._anchor()
            node.prepare_mounts(self.layout, anchor)
            node.prepare_network(record, anchor)
        node.make_cgroups(record.name)
        self._write_node_files(record)
        self._start(record, "containerd", components.containerd(self.layout), None)
        self._wait_for(record, "containerd")
        if fresh and images.forget_containers(self.layout):
            # containerd read them when it started and would go on speaking of them.
            self._end("containerd")
            self._start(record, "containerd", components.containerd(self.layout), None)
            self._wait_for(record, "containerd")
        images.pause(self.layout, self.tool("pause"), configs.PAUSE_IMAGE)

    def _write_node_files(self, record: Record) -> None:
        layout = self.layout
        for file, text in {
            "kubelet.json": configs.kubelet(layout, record),
            "kube-proxy.json": configs.kube_proxy(layout, record),
            "containerd.toml": configs.containerd(layout, record),
            "buildkitd.toml": configs.buildkitd(layout, record),
            "Corefile": configs.corefile(layout, record),
            "resolv.conf": f"nameserver {record.addresses.node_ip}\n",
        }.items():
            files.write(layout.config / file, text)
        node.write_cni(layout, record)
        for number in range(configs.VOLUMES):
            folder = layout.volumes / f"local-{number}"
            if not folder.exists():
                folder.mkdir(parents=True)
                folder.chmod(0o777)  # pods run as users that nobody here knows

    def _start_node(self, record: Record) -> None:
        layout, programs = self.layout, self.tool("kubelet").parent
        for path, manifest in configs.first_objects(layout, record):
            self.api().apply(path, manifest)
        began = int(time.time())
        before = processes.recorded(layout.state, "kubelet")
        for name, command in {
            "kubelet": components.kubelet(layout, record),
            "kube-proxy": components.kube_proxy(layout, record),
            "coredns": components.coredns(layout, record),
            "volume-recycler": components.volume_recycler(layout, record),
        }.items():
            self._start(record, name, command, programs)
        self._start(record, "buildkitd", components.buildkitd(layout), self.tool("buildkitd").parent)
        for name in ("kube-proxy", "coredns", "kubelet", "buildkitd"):
            self._wait_for(record, name)
        # After a crash the API server still shows what the former kubelet said: wait for the new one's word.
        since = 0 if before and before.alive() else began
        self._wait("node", lambda: health.node_ready(self.api(), record.name, since))

    def _anchor(self) -> processes.Process:
        anchor = processes.recorded(self.layout.state, "anchor")
        if anchor is None or not anchor.alive():
            raise LocalClusterError(f"cluster {self.name!r} is not running: bring it up first")
        # unshare has made the namespaces once the process is no longer in the host's.
        theirs, ours = Path(f"/proc/{anchor.pid}/ns/mnt"), Path("/proc/self/ns/mnt")
        self._wait("the namespaces", lambda: theirs.readlink() != ours.readlink())
        return anchor

    def _start(self, record: Record, name: str, command: Sequence[str], programs: Path | None) -> None:
        """Starts a component unless it runs. containerd and buildkitd stay in the host's network, for image builds."""
        process = processes.recorded(self.layout.state, name)
        if process and process.alive():
            return
        self._step(f"starting {name}")
        command = [str(programs / command[0]), *command[1:]] if programs else list(command)
        if record.full:
            command = [*node.enter(self._anchor(), network=name not in ("containerd", "buildkitd")), *command]
        processes.spawn(self.layout.state, name, command, host.environment(os.environ))

    # -- waiting ---------------------------------------------------------------------------------------------------

    def _answers(self, path: str) -> bool:
        try:
            self.api().request("GET", path)
        except LocalClusterError:
            return False
        return True

    def _wait_for(self, record: Record, name: str) -> None:
        def healthy() -> bool:
            process = processes.recorded(self.layout.state, name)
            if process is None or not process.alive():
                log = self.layout.logs / f"{name}.log"
                raise LocalClusterError(f"{name} has ended; the end of {log}:\n{_tail(log)}")
            return health.healthy(self.layout, record, name)

        self._wait(name, healthy)

    def _wait(self, what: str, ready: Callable[[], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise LocalClusterError(f"{what} is not ready after {seconds:.0f} s; look into {self.layout.logs}")
            processes.reap()
            time.sleep(0.1)

    def _end(self, name: str) -> None:
        process = processes.recorded(self.layout.state, name)
        if process and process.alive():
            processes.end([process.pid])

    def _end_everything(self, record: Record | None) -> None:
        """Until none is left: a shim or the kubelet may start another process while the first ones end."""
        for _ in range(10):
            found = processes.marked(self.layout.state)
            if record and record.full:
                found |= node.cgroup_processes(record.name)
            if not found:
                return
            self._step(f"ending {len(found)} processes")
            processes.end(found, grace=1)
        raise LocalClusterError(f"some processes of {self.name!r} do not end: {sorted(found)}")


def _tail(log: Path, lines: int = 5) -> str:
    """The end of a log; some components write lines of many kilobytes."""
    if not log.exists():
        return "(no log)"
    return "\n".join(line[:400] for line in log.read_text(errors="replace").splitlines()[-lines:])
