"""The commands for people; each is a few lines over Cluster."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from localcluster import tools
from localcluster.cluster import Cluster
from localcluster.errors import LocalClusterError


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; what the caller can act on is printed without a traceback."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except LocalClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="localcluster", description="A real single-node Kubernetes cluster.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--name", default="kaon", help="the cluster (default: kaon)")
        sub.set_defaults(run=run)
        return sub

    up = command("up", _up, "bring a cluster up; safe to repeat")
    up.add_argument("--control-plane-only", action="store_true", help="no node: API server and controllers, no root")
    up.add_argument("--scheduler", action="store_true", help="with --control-plane-only: run kube-scheduler too")
    up.add_argument("--extra-arg", action="append", default=[], metavar="COMPONENT=FLAG", help="one more flag")
    up.add_argument("--audit", action="store_true", help="log what service accounts ask the API server for")
    down = command("down", _down, "stop a cluster and remove every trace of it")
    down.add_argument("--purge", action="store_true", help="remove its image store too")
    command("status", _status, "what runs, and how it is")
    command("kubeconfig", _kubeconfig, "print the path of the kubeconfig")
    run = command("exec", _exec, "run a command in the cluster's network, with KUBECONFIG set")
    run.add_argument("command", nargs=argparse.REMAINDER, help="-- command …")
    build = command("build-image", _build_image, "build a Containerfile into the node's image store")
    build.add_argument("--tag", required=True, help="such as localhost/kaon-operator:dev")
    build.add_argument("--file", required=True)
    build.add_argument("--context", default=".")
    build.add_argument("--target", default="")
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    build.add_argument("--secret", action="append", default=[], metavar="id=ID,src=FILE")
    command("base-image", _base_image, "make the Debian base image and import it")
    command("prune", _prune, "remove images that no pod uses, and old build cache")
    tool = command("tool", _tool, "print the path of a program, built first when needed")
    tool.add_argument("program")
    return parser


def _cluster(options: argparse.Namespace) -> Cluster:
    return Cluster(options.name)


def _up(options: argparse.Namespace) -> None:
    extra: dict[str, list[str]] = {}
    for argument in options.extra_arg:
        component, _, flag = argument.partition("=")
        extra.setdefault(component, []).append(flag)
    cluster = Cluster(
        options.name, control_plane_only=options.control_plane_only, scheduler=options.scheduler, extra_args=extra,
        audit=options.audit,
    )  # fmt: skip
    cluster.up()
    print(f"\n  export KUBECONFIG={cluster.kubeconfig}")
    if any(name.lower() in ("http_proxy", "https_proxy") for name in os.environ):
        print(f"  export NO_PROXY={cluster.env['NO_PROXY']}")
    print(f"  alias kubectl={cluster.tool('kubectl')}\n")


def _down(options: argparse.Namespace) -> None:
    _cluster(options).down(purge=options.purge)


def _status(options: argparse.Namespace) -> int:
    cluster = _cluster(options)
    rows = cluster.status()
    for name, pid, state in rows:
        print(f"{name:26}{pid:>9}  {state}")
    record = cluster.record
    print(f"{'API server':26}{record.server}")
    print(f"{'kubeconfig':26}{cluster.kubeconfig}")
    ready = True
    if record.full:
        ready = cluster.node_ready()
        print(f"{'node':26}{record.name}, {'ready' if ready else 'NOT ready'}, at {record.bind_ip}")
        print(f"{'host, seen from pods':26}{cluster.host_address}")
    for label, folder in {"state": cluster.layout.state, "image store": cluster.layout.store}.items():
        if folder.exists():
            used = subprocess.run(["du", "-sh", str(folder)], capture_output=True, text=True, check=False).stdout
            print(f"{label:26}{folder} ({used.split()[0] if used else '?'})")
    return 0 if ready and all(state == "healthy" for _, _, state in rows) else 1


def _kubeconfig(options: argparse.Namespace) -> None:
    cluster = _cluster(options)
    if not cluster.kubeconfig.exists():
        raise LocalClusterError(f"there is no cluster {cluster.name!r}: bring it up first")
    print(cluster.kubeconfig)


def _exec(options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise LocalClusterError("exec needs a command: exec -- curl http://…")
    return _cluster(options).run_in_netns(command, check=False).returncode


def _build_image(options: argparse.Namespace) -> None:
    arguments = dict(argument.partition("=")[::2] for argument in options.build_arg)
    _cluster(options).build_image(
        options.tag, options.file, options.context,
        build_args=arguments, secrets=options.secret, target=options.target, quiet=False,
    )  # fmt: skip
    print(options.tag)


def _base_image(options: argparse.Namespace) -> None:
    print(_cluster(options).base_image())


def _prune(options: argparse.Namespace) -> None:
    for image in _cluster(options).prune():
        print(f"removed {image}")


def _tool(options: argparse.Namespace) -> None:
    print(tools.tool(options.program, lambda message: print(message, file=sys.stderr)))
