"""kubectl for the end-to-end tests: what a person would type, with objects as answers and waits that explain."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Object = dict[str, Any]
READY = "Ready"
STALLED = "Stalled"


class CommandFailed(AssertionError):
    """A command that ended badly, with all that it said."""


def run(command: list[str], *, stdin: str | None = None, check: bool = True, timeout: float = 300) -> str:
    """Runs a command; returns standard output (and standard error when `check` is off)."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout if check else done.stdout + done.stderr


def listed(objects: Iterable[Object], namespace: str | None) -> str:
    """A List of objects; those that read from the store's folder NAMESPACE read from this namespace's."""
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    return content.replace("s3://kaon/NAMESPACE/", f"s3://kaon/{namespace}/") if namespace else content


@dataclass(frozen=True)
class Kube:
    """One cluster."""

    kubectl: Path
    kubeconfig: Path

    def __call__(self, *args: str, stdin: str | None = None, check: bool = True, timeout: float = 300) -> str:
        command = [str(self.kubectl), "--kubeconfig", str(self.kubeconfig), *args]
        return run(command, stdin=stdin, check=check, timeout=timeout)

    def apply(self, objects: Iterable[Object], *flags: str, namespace: str | None = None, check: bool = True) -> str:
        """kubectl apply of objects."""
        content = listed(objects, namespace)
        where = ["-n", namespace] if namespace else []
        return self("apply", *where, "-f", "-", *flags, stdin=content, check=check)

    def get(self, kind: str, name: str, namespace: str) -> Object | None:
        """One object, or None."""
        text = self("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """The objects of a kind, or of several separated by commas."""
        chosen = ["-l", selector] if selector else []
        items: list[Object] = json.loads(self("get", kind, "-n", namespace, "-o", "json", *chosen))["items"]
        return items

    def until(
        self, kind: str, name: str, namespace: str, wanted: Callable[[Object], bool], timeout: float, what: str = ""
    ) -> Object:
        """Polls an object until it is as wanted; the failure shows what it was last."""
        end = time.monotonic() + timeout
        found: Object | None = None
        while time.monotonic() < end:
            found = self.get(kind, name, namespace)
            if found is not None:
                # What its operator has not seen yet has no status.
                found.setdefault("status", {})
                if wanted(found):
                    return found
            time.sleep(0.5)
        status = json.dumps((found or {}).get("status", "the object does not exist"), indent=1)
        pods = self("get", "pods", "-n", namespace, "-o", "wide", check=False)
        raise AssertionError(f"{kind}/{name} was not {what or 'as wanted'} within {timeout:.0f} s: {status}\n{pods}")

    def until_ready(self, kind: str, name: str, namespace: str, timeout: float) -> Object:
        """Waits until a resource is Ready for its present generation; fails at once when it stalls."""

        def wanted(obj: Object) -> bool:
            stalled = condition(obj, STALLED)
            if stalled and stalled["status"] == "True" and is_current(obj, stalled):
                raise AssertionError(f"{kind}/{name} stalled: {stalled['reason']}: {stalled['message']}")
            ready = condition(obj, READY)
            return bool(ready and ready["status"] == "True" and is_current(obj, ready))

        return self.until(kind, name, namespace, wanted, timeout, "Ready")

    def until_stalled(self, kind: str, name: str, namespace: str, timeout: float) -> Object:
        """Waits until a resource is Stalled for its present generation. Returns the condition."""

        def wanted(obj: Object) -> bool:
            stalled = condition(obj, STALLED)
            return bool(stalled and stalled["status"] == "True" and is_current(obj, stalled))

        found = condition(self.until(kind, name, namespace, wanted, timeout, "Stalled"), STALLED)
        assert found is not None
        return found

    def until_reason(self, kind: str, name: str, namespace: str, reason: str, timeout: float) -> str:
        """Waits until the Ready condition has a reason. Returns its message."""

        def wanted(obj: Object) -> bool:
            ready = condition(obj, READY)
            return bool(ready and ready["reason"] == reason)

        ready = condition(self.until(kind, name, namespace, wanted, timeout, f"Ready for the reason {reason}"), READY)
        assert ready is not None
        return str(ready["message"])

    @contextlib.contextmanager
    def forward(self, target: str, port: int, namespace: str) -> Iterator[str]:
        """kubectl port-forward; yields http://127.0.0.1:<port>."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            local = probe.getsockname()[1]
        command = [str(self.kubectl), "--kubeconfig", str(self.kubeconfig), "-n", namespace, "port-forward", target]
        process = subprocess.Popen(
            [*command, f"{local}:{port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "Forwarding" in line, line + process.stdout.read()
            yield f"http://127.0.0.1:{local}"
        finally:
            process.terminate()
            process.wait(10)


def condition(obj: Object, kind: str) -> Object | None:
    """A condition of an object, or None."""
    found = (item for item in obj.get("status", {}).get("conditions", []) if item["type"] == kind)
    return next(found, None)


def is_current(obj: Object, found: Object) -> bool:
    """Whether a condition speaks of the object's present generation."""
    return bool(found.get("observedGeneration") == obj["metadata"]["generation"])
