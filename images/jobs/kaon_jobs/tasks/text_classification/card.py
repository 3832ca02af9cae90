"""What a text classifier's card says before it has answered anything."""

from __future__ import annotations

from kaon.api.signature import Signature, TensorSpec
from kaon.contract.jobspec import TrainWork
from kaon.contract.manifest import ModelCard
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE
from kaon_jobs.predict.onnx_text import TOKENIZER_FILE


def card_of(work: TrainWork, labels: list[str]) -> ModelCard:
    """The card of a model that is about to be trained, without golden examples."""
    return ModelCard(
        task=work.task,
        labels=labels,
        max_sequence_length=work.recipe.max_sequence_length,
        signature=Signature(
            inputs=[TensorSpec(name="text", datatype="BYTES", shape=[-1, 1])],
            outputs=[
                TensorSpec(name="label", datatype="BYTES", shape=[-1, 1]),
                TensorSpec(name="probabilities", datatype="FP32", shape=[-1, len(labels)]),
            ],
        ),
        serving_files=[MODEL_FILE, TOKENIZER_FILE, CARD_FILE],
        base_model=work.model.base,
        recipe=work.recipe.wire(),
    )
