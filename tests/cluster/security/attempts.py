"""One team's namespace, as whoever tries to get more out of it sees it. By HTTP: hundreds of attempts take seconds."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import eventually

Object = dict[str, Any]
ROOTS = {
    **dict.fromkeys(("Dataset", "TrainingRun", "CompressionJob", "ModelDeployment"), "/apis/kaon.dev/v1alpha1"),
    **dict.fromkeys(("ConfigMap", "Service", "ServiceAccount", "Pod"), "/api/v1"),
    "Report": "/apis/kaon.dev/v1alpha1",
    "Job": "/apis/batch/v1",
    "Deployment": "/apis/apps/v1",
    "NetworkPolicy": "/apis/networking.k8s.io/v1",
}
SPECS: dict[str, Object] = {
    "Dataset": {
        "task": "text-classification",
        "sources": [{"uri": "s3://bucket/rows.csv"}],
        "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
    },
    "TrainingRun": {"datasetRef": {"name": "ready-d"}, "model": {"base": "s3://bucket/model"}},
    "CompressionJob": {
        "modelRef": {"kind": "TrainingRun", "name": "ready-t"},
        "budget": {"maxDrop": {"accuracy": 0.01}},
    },
    "ModelDeployment": {"modelRef": {"kind": "CompressionJob", "name": "ready-c"}},
}
"""A spec of each kind that leads to pods at once."""
ALLOWED_ACCOUNTS = ("nobody", *(f"allowed-{kind.lower()}" for kind in SPECS))
"""Accounts that the operator's configuration lists, beside Kaon's own."""
TEMPLATES = [(kind, "podTemplate") for kind in SPECS] + [("ModelDeployment", "router")]
"""Every place where a pod template may be written."""


class Server:
    """The API server, asked by its administrator, or by somebody whom the administrator plays."""

    def __init__(self, url: str, pki: Path, user: str = "") -> None:
        tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        direct, secure = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
        self._opener = urllib.request.build_opener(direct, secure)
        self._url, self._pki, self._user = url, pki, user

    def acting_as(self, user: str) -> Server:
        """The same, for another user."""
        return Server(self._url, self._pki, user)

    def send(self, verb: str, path: str, body: Object | None = None, media: str = "application/json") -> Object:
        """The answer; a refusal is an object with a `message`."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": media, **({"Impersonate-User": self._user} if self._user else {})}
        request = urllib.request.Request(self._url + path, data, headers, method=verb)
        try:
            with self._opener.open(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            text = error.read()
        found: Object = json.loads(text)
        return found


@dataclass(frozen=True)
class Team:
    """A namespace."""

    server: Server
    name: str

    def path(self, kind: str, name: str = "", below: str = "") -> str:
        """The path of an object, or of all of a kind."""
        plural = f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s"
        parts = (ROOTS[kind], "namespaces", self.name, plural, name, below)
        return "/".join(part for part in parts if part)

    def resource(self, kind: str, name: str, metadata: Object | None = None, **spec: Any) -> Object:
        """A resource that would be fine, but for `spec`."""
        found = {"name": name, **(metadata or {})}
        return {"apiVersion": "kaon.dev/v1alpha1", "kind": kind, "metadata": found, "spec": {**SPECS[kind], **spec}}

    def create(self, obj: Object, validation: str = "Strict") -> Object:
        """What the API server says to an object."""
        return self.server.send("POST", f"{self.path(obj['kind'])}?fieldValidation={validation}", obj)

    def refusal(self, obj: Object) -> str:
        """Why an object is refused."""
        said = self.create(obj)
        assert said.get("status") == "Failure", f"taken: {said}"
        return str(said["message"])

    def made(self, obj: Object, validation: str = "Strict") -> Object:
        """A resource, created and with a status."""
        said = self.create(obj, validation)
        assert "uid" in said["metadata"], said
        return self.until_status(obj["kind"], obj["metadata"]["name"])

    def put(self, obj: Object) -> Object:
        """An object of another kind, created as it is."""
        said = self.create(obj, "Warn")
        assert "uid" in said["metadata"], said
        return said

    def get(self, kind: str, name: str) -> Object | None:
        """An object, or None."""
        found = self.server.send("GET", self.path(kind, name))
        return None if found.get("status") == "Failure" else found

    def list(self, kind: str, selector: str = "") -> list[Object]:
        """The objects of a kind."""
        found = self.server.send("GET", f"{self.path(kind)}?labelSelector={selector.replace('=', '%3D')}")
        return [{"kind": kind, **item} for item in found["items"]]

    def patch(self, kind: str, name: str, change: Object, below: str = "") -> Object:
        """The answer to a merge patch."""
        return self.server.send("PATCH", self.path(kind, name, below), change, "application/merge-patch+json")

    def delete(self, kind: str, name: str) -> None:
        """Delete an object."""
        self.server.send("DELETE", self.path(kind, name))

    def until_status(self, kind: str, name: str, reason: str = "") -> Object:
        """A resource as soon as it has a status, or one whose Ready condition has that reason."""

        def look() -> Object | None:
            found = self.get(kind, name) or {}
            told = [item for item in found.get("status", {}).get("conditions", ()) if item["type"] == "Ready"]
            return found if told and reason in ("", told[0]["reason"]) else None

        found: Object = eventually(look, f"a status of {kind} {name} {reason}", 40)
        return found

    def pods(self, obj: Object) -> list[Object]:
        """The pod templates' specs of all that a resource led to."""
        selector = f"kaon.dev/owner-uid={obj['metadata']['uid']}"

        def look() -> list[Object]:
            workloads = self.list("Job", selector) + self.list("Deployment", selector)
            return [item["spec"]["template"]["spec"] for item in workloads]

        found: list[Object] = eventually(look, f"the workload of {obj['metadata']['name']}")
        return found

    def token_of_a_pod(self, job: str) -> str:
        """A token of an hour as it is mounted into the pod of a Job: bound to it."""
        pod = eventually(lambda: self.list("Pod", f"batch.kubernetes.io/job-name={job}"), f"a pod of {job}")[0]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        answer = self.server.send(
            "POST",
            f"{self.path('ServiceAccount', 'kaon-job')}/token",
            {**asked, "spec": {"expirationSeconds": 3600, "boundObjectRef": bound}},
        )
        return str(answer["status"]["token"])

    def admits(self, pod: Object) -> str:
        """Why a pod of this spec is refused in this namespace, asked by a dry run; "" when it is let in."""
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dry"}, "spec": pod}
        said = self.server.send("POST", f"{self.path('Pod')}?dryRun=All", body)
        return str(said["message"]) if said.get("status") == "Failure" else ""


def ready(obj: Object) -> Object:
    """The Ready condition."""
    found: Object = next(item for item in obj["status"]["conditions"] if item["type"] == "Ready")
    return found
