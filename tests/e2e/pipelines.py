"""The tiny pipeline that the end-to-end tests apply: the same four kinds as the example, done in a minute."""

from __future__ import annotations

from kube import Object
from tinymodel import TINY_RECIPE

API_VERSION = "kaon.dev/v1alpha1"
KINDS = ("dataset", "trainingrun", "compressionjob", "modeldeployment")


def resource(kind: str, name: str, spec: Object) -> Object:
    """A custom resource."""
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def dataset(name: str = "tiny", **spec: object) -> Object:
    """The tiny Dataset."""
    return resource(
        "Dataset",
        name,
        {
            "task": "text-classification",
            "sources": [
                {"uri": "s3://kaon/NAMESPACE/raw/tiny/train.csv", "split": "train"},
                {"uri": "s3://kaon/NAMESPACE/raw/tiny/test.csv", "split": "test"},
            ],
            "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
            **spec,
        },
    )


def training(name: str = "tiny", **spec: object) -> Object:
    """The tiny TrainingRun."""
    return resource(
        "TrainingRun",
        name,
        {
            "datasetRef": {"name": "tiny"},
            "model": {"base": "s3://kaon/NAMESPACE/models/tiny"},
            "recipe": TINY_RECIPE,
            **spec,
        },
    )


def compression(name: str = "tiny", **spec: object) -> Object:
    """The tiny CompressionJob: one step, judged on quality alone (a model this small is all overhead)."""
    return resource(
        "CompressionJob",
        name,
        {
            "modelRef": {"kind": "TrainingRun", "name": "tiny"},
            "budget": {"maxDrop": {"accuracy": 0.5}},
            "objective": "size",
            "strategy": "steps",
            "steps": [{"quantize": {"scheme": "int8-dynamic"}}],
            **spec,
        },
    )


def deployment(name: str = "tiny", **spec: object) -> Object:
    """The tiny ModelDeployment."""
    return resource("ModelDeployment", name, {"modelRef": {"kind": "CompressionJob", "name": "tiny"}, **spec})


def pipeline() -> list[Object]:
    """The four, in the order in which they depend on each other."""
    return [dataset(), training(), compression(), deployment()]
