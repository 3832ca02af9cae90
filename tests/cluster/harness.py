"""What the cluster tests are made with: kubectl with objects as answers, waiting, and the operator as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulation.programs import end, fetch, free_port

Object = dict[str, Any]


class Kubectl:
    """kubectl, bound to one cluster and one set of credentials."""

    def __init__(self, binary: Path, kubeconfig: Path) -> None:
        self.binary = binary
        self.kubeconfig = kubeconfig

    def __call__(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """What kubectl printed; with `check` off also when it failed, its complaints included."""
        command = [str(self.binary), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def apply(self, *objects: Object, check: bool = True) -> str:
        """Apply objects as a user does."""
        manifest = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return self("apply", "-f", "-", stdin=json.dumps(manifest), check=check)

    def get(self, kind: str, name: str, namespace: str) -> Object | None:
        """An object, or None."""
        text = self("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else None

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """The objects of a kind in a namespace."""
        chosen = ("-l", selector) if selector else ()
        items: list[Object] = json.loads(self("get", kind, "-n", namespace, "-o", "json", *chosen))["items"]
        return items

    def patch_status(self, kind: str, name: str, namespace: str, status: Object) -> None:
        """Write an object's status, as its own controller or a pod would."""
        patch = json.dumps({"status": status})
        self("patch", kind, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


def eventually(look: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first truthy thing that `look` returns."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}; last seen: {found!r}"
        time.sleep(0.1)


class OperatorProcess:
    """A running `kaon-operator` (or a program like it), with its log and ports."""

    def __init__(self, kubeconfig: Path, arguments: list[str], program: list[str], env: dict[str, str]) -> None:
        self.health_port, self.metrics_port = free_port(), free_port()
        self._log = tempfile.NamedTemporaryFile(prefix="kaon-operator-", suffix=".log")  # noqa: SIM115
        ports = ["--health-port", str(self.health_port), "--metrics-port", str(self.metrics_port)]
        self.process = subprocess.Popen(
            [sys.executable, *program, *ports, *arguments],
            env={**os.environ, "KUBECONFIG": str(kubeconfig), **env},
            stdout=self._log,
            stderr=self._log,
        )

    @property
    def log(self) -> str:
        """Everything it logged."""
        return Path(self._log.name).read_text()

    def probe(self, path: str) -> tuple[int, str]:
        """The status and text of /healthz or /readyz; 0 when nobody listens."""
        return fetch(f"http://127.0.0.1:{self.health_port}{path}")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        total = 0.0
        for line in fetch(f"http://127.0.0.1:{self.metrics_port}/metrics")[1].splitlines():
            found = line.split("{")[0].split(" ")[0]
            if found == name and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def wait_ready(self, seconds: float = 20.0) -> OperatorProcess:
        """Wait until it is ready, or fail with its log."""
        deadline = time.monotonic() + seconds
        while self.probe("/readyz")[0] != 200:
            assert self.process.poll() is None, f"exited with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"not ready: {self.probe('/readyz')}\n{self.log}"
            time.sleep(0.1)
        return self

    def wait_leading(self, seconds: float = 30.0) -> OperatorProcess:
        """Wait until it is the leader."""
        eventually(lambda: self.metric("kaon_leader") == 1, "leading", seconds)
        return self

    def wait_exit(self, seconds: float = 20.0) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self) -> None:
        """End it, gently first."""
        end(self.process)
        self._log.close()


StartOperator = Callable[..., OperatorProcess]
