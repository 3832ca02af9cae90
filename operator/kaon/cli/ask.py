"""`kaon ask`: one text, row, image or history to a served model, through the API server's proxy to the model's router.

Nothing but a kubeconfig is needed: no port is forwarded and no address of the cluster has to be reachable from here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaon.api.modeldeployment import ModelDeploymentStatus
from kaon.api.signature import TEXT_SIGNATURE, Signature
from kaon.cli import cluster as api
from kaon.cli import pipeline
from kaon.cli.cluster import Answer, Cluster
from kaon.cli.errors import CliError
from kaon.cli.question import request_of

Object = dict[str, Any]
UPSTREAM_TIME = "x-envoy-upstream-service-time"


@dataclass(frozen=True)
class Prediction:
    """What the model said and how long it took: a class with the probabilities of all, a number, or ranked items."""

    label: str | None
    probabilities: list[tuple[str, float]]
    number: float | None
    target: str | None
    """Name of the predicted column, where it is known."""
    round_trip_ms: float
    server_ms: float | None
    items: list[tuple[str, float]] | None = None
    """The best first, with their scores."""


def ask(
    cluster: Cluster,
    namespace: str,
    name: str,
    words: Sequence[str],
    row: str | None = None,
    image: bytes | None = None,
) -> Prediction:
    """Sends one text, one image, or one row of a table, to a ModelDeployment.

    Raises:
        CliError: no such deployment, it reads something else, or does not answer; the message says why.
    """
    deployment = cluster.get("ModelDeployment", namespace, name)
    body = request_of(name, signature_of(deployment), words, row, image)
    # The path names the Service's port, so that no route has to be known from here.
    path = f"/api/v1/namespaces/{namespace}/services/{name}:80/proxy/v2/models/{name}/infer"
    began = time.perf_counter()
    answer = cluster.request("POST", path, body=body)
    seconds = time.perf_counter() - began
    if answer.status != 200:
        raise _refused(answer, deployment, namespace)
    server_ms = answer.headers.get(UPSTREAM_TIME)
    ranked_items = parse_items(answer.body)
    if ranked_items is not None:
        timed = (seconds * 1000, float(server_ms) if server_ms else None)
        return Prediction(None, [], None, None, *timed, ranked_items)
    label, values = parse(answer.body)
    dataset = dataset_of(cluster, deployment, namespace)
    if label is None:
        ranked, number = [], values[0]
    else:
        names = class_names(dataset.get("status") or {})
        if len(names) != len(values):
            names = [f"class {index}" for index in range(len(values))]
        ranked, number = sorted(zip(names, values, strict=True), key=lambda pair: -pair[1]), None
    target = dataset.get("spec", {}).get("schema", {}).get("label", {}).get("name")
    return Prediction(label, ranked, number, target, seconds * 1000, float(server_ms) if server_ms else None)


def signature_of(deployment: Object) -> Signature:
    """What the revision that has the traffic reads and answers; before there is one, a text."""
    status = pipeline.status_of(deployment)
    assert isinstance(status, ModelDeploymentStatus)
    return (status.stable.signature if status.stable else None) or TEXT_SIGNATURE


def parse(body: bytes) -> tuple[str | None, list[float]]:
    """The label and the probabilities of a V2 answer; of one without classes None and the predicted number."""
    try:
        outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        if "prediction" in outputs:
            return None, [float(outputs["prediction"][0])]
        return str(outputs["label"][0]), [float(value) for value in outputs.get("probabilities", [])]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _unreadable(body) from error


def parse_items(body: bytes) -> list[tuple[str, float]] | None:
    """The items of a V2 answer with their scores; None of a model that ranks none."""
    try:
        outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        if "items" not in outputs:
            return None
        pairs = zip(outputs["items"], outputs["scores"], strict=True)
        # There may be fewer than are asked for.
        return [(str(item), float(score)) for item, score in pairs if item != ""]
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(body) from error


def _unreadable(body: bytes) -> CliError:
    start = body[:200].decode(errors="replace")
    return CliError(f"the model's answer is not of the V2 protocol: {start}")


def dataset_of(cluster: Cluster, deployment: Object, namespace: str) -> Object:
    """The Dataset that a deployment's model was trained on, which knows names. Empty when a link is gone."""
    obj = deployment
    while True:
        if obj["kind"] == "Dataset":
            return obj
        source = pipeline.reference(obj)
        if source is None or source[0] not in pipeline.KINDS:
            return {}
        try:
            obj = {**cluster.get(source[0], namespace, source[1]), "kind": source[0]}
        except CliError:
            # The names are a courtesy: the answer itself has come, and is shown without them.
            return {}


def class_names(status: Object) -> list[str]:
    """The names of a Dataset's classes; a class that its status does not list is named by its number."""
    names = list(status.get("classes") or [])
    return names + [f"class {index}" for index in range(len(names), status.get("classCount") or 0)]


def _refused(answer: Answer, deployment: Object, namespace: str) -> CliError:
    said = api.message_of(answer)
    name = deployment["metadata"]["name"]
    if answer.status == 403:
        return CliError(f"not allowed: {said}", f"Ask for `create` on services/proxy in namespace {namespace}.")
    row = pipeline.row({**deployment, "kind": "ModelDeployment"})
    if row.state is not pipeline.State.READY:
        why = ": ".join(filter(None, (row.reason, row.message))) or row.phase
        return CliError(f"{name} is not ready: {why}", f"kaon watch -n {namespace} --until-ready")
    return CliError(
        f"{name} answered {answer.status}: {said}",
        f"kubectl -n {namespace} logs -l kaon.dev/owner={name} --tail 50 --all-containers",
    )
