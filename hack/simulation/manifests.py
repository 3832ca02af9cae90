"""The resources that simulations run: manifests and the paths of their collections. Pure."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
API_VERSION = "kaon.dev/v1alpha1"
GPU = {"resources": {"limits": {"nvidia.com/gpu": 1}}}


def collection(namespace: str, plural: str) -> str:
    """The path of a kind of Kaon's in a namespace."""
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}"


def dataset(name: str, **spec: Any) -> Object:
    """A Dataset of one source."""
    schema = {"features": [{"name": "text"}], "label": {"name": "label"}}
    sources = [{"uri": f"s3://raw/{name}.csv"}]
    return _resource("Dataset", name, {"task": "text-classification", "sources": sources, "schema": schema, **spec})


def training_run(name: str, data: str, seed: int = 42, **spec: Any) -> Object:
    """A TrainingRun on one GPU. Another seed is another input digest."""
    model = {"base": "s3://models/minilm"}
    return _resource(
        "TrainingRun",
        name,
        {"datasetRef": {"name": data}, "model": model, "recipe": {"seed": seed}, "podTemplate": GPU, **spec},
    )


def compression_job(name: str, run: str, **spec: Any) -> Object:
    """A CompressionJob of a TrainingRun's model."""
    ref = {"kind": "TrainingRun", "name": run}
    return _resource("CompressionJob", name, {"modelRef": ref, "budget": {"maxDrop": {"accuracy": 0.01}}, **spec})


def model_deployment(name: str, job: str, **spec: Any) -> Object:
    """A ModelDeployment of a CompressionJob's model."""
    return _resource("ModelDeployment", name, {"modelRef": {"kind": "CompressionJob", "name": job}, **spec})


def pipeline(name: str) -> list[tuple[str, Object]]:
    """(plural, resource) of four stages with one name."""
    return [
        ("datasets", dataset(name)),
        ("trainingruns", training_run(name, name)),
        ("compressionjobs", compression_job(name, name)),
        ("modeldeployments", model_deployment(name, name)),
    ]


def _resource(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
