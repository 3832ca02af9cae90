"""What a classifier of images says of itself before it has answered anything."""

from __future__ import annotations

from kaon.api.signature import Signature, TensorSpec
from kaon.contract.jobspec import TrainWork
from kaon.contract.manifest import ImageForm, ModelCard
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE


def card_of(work: TrainWork, labels: list[str], form: ImageForm) -> ModelCard:
    """The card of a model that is about to be trained, without golden examples."""
    return ModelCard(
        task=work.task,
        labels=labels,
        image=form,
        signature=Signature(
            inputs=[TensorSpec(name="image", datatype="BYTES", shape=[-1, 1], content="image")],
            outputs=[
                TensorSpec(name="label", datatype="BYTES", shape=[-1, 1]),
                TensorSpec(name="probabilities", datatype="FP32", shape=[-1, len(labels)]),
            ],
        ),
        serving_files=[MODEL_FILE, CARD_FILE],
        base_model=work.model.base,
        recipe=work.recipe.wire(),
    )
