"""What the user does in a run: applies the pipeline of four resources, and later edits one of them. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kaon.api.base import API_VERSION

Object = dict[str, Any]
NAME = "reviews"


def resource(kind: str, spec: Object) -> Object:
    """A custom resource of the pipeline."""
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": NAME}, "spec": spec}


DATASET = resource(
    "Dataset",
    {
        "task": "text-classification",
        "sources": [{"uri": "s3://raw/reviews.csv"}],
        "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
    },
)
TRAINING_RUN = resource("TrainingRun", {"datasetRef": {"name": NAME}, "model": {"base": "s3://models/minilm"}})
COMPRESSION_JOB = resource(
    "CompressionJob",
    {"modelRef": {"kind": "TrainingRun", "name": NAME}, "budget": {"maxDrop": {"accuracy": 0.01, "macroF1": 0.02}}},
)
MODEL_DEPLOYMENT = resource(
    "ModelDeployment", {"modelRef": {"kind": "CompressionJob", "name": NAME}, "gates": {"minimum": {"accuracy": 0.9}}}
)
PIPELINE = (DATASET, TRAINING_RUN, COMPRESSION_JOB, MODEL_DEPLOYMENT)
OTHER_RECIPE = {"spec": {"recipe": {"epochs": 5}}}


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the user does, after which the pipeline comes to rest."""

    says: str
    applied: tuple[Object, ...] = ()
    patches: tuple[tuple[str, Object], ...] = ()
    """(kind, merge patch) of resources of the pipeline."""


SCENARIOS = {
    "pipeline": (Step("four resources are applied", applied=PIPELINE),),
    "edit": (
        Step("four resources are applied", applied=PIPELINE),
        Step("the training's recipe is edited", patches=(("TrainingRun", OTHER_RECIPE),)),
    ),
}
"""`edit` goes on where `pipeline` ends: a second training and compression, and a rollout that replaces a revision."""
