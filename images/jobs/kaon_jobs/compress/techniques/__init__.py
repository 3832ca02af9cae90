"""The techniques: one file each, all with one face. A technique reads one model directory and writes another.

Those of the trained form (vocabulary, prune, distill, finetune) read and write weights and tokenizer; the workbench
exports what they leave, when it is asked for. Those of the exported form (optimize, lowRank, quantize) read and write
model.onnx; linear writes a model of its own. A network that has no trained form is pruned and trained in its exported
one (networks.py).

Adding one: a file here with a class that has `apply`, a line in `technique_of` and in naming.py, and, when the search
shall use it by itself, a line in search.py or in a shape.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from kaon.api.compressionjob import STEP_FIELDS, Quantize, Step
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.compress.verdict.naming import step_name
from kaon_jobs.errors import TechniqueFailed

__all__ = ["Technique", "step_name", "technique_of"]


class Technique(Protocol):
    """One transformation of a model: a text encoder's or a network's."""

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """Writes into `target` what it made of `source`. The files that it does not write lie in both directories.

        A technique of the trained form leaves no model.onnx; it is exported anew.

        Raises:
            TechniqueFailed: it does not apply to this model, or what it made is not sound.
        """
        ...


def technique_of(step: Step, *, of_network: bool = False) -> Technique:
    """The technique that a step asks for; of a network when the model reads arrays, and has its exported form alone."""
    # Each imports torch's or onnxruntime's tools, which take seconds; a pure caller needs only the names above.
    if of_network and step.trains:
        return _of_network(step)
    if step.quantize is not None:
        return _quantization(step.quantize)
    if step.optimize is not None:
        from kaon_jobs.compress.techniques.fusion import TransformerFusion

        return TransformerFusion()
    if step.linear is not None:
        from kaon_jobs.compress.techniques.linear import LinearStudent

        return LinearStudent(step.linear)
    if step.low_rank is not None:
        from kaon_jobs.compress.techniques.low_rank import LowRankFactorization

        return LowRankFactorization(step.low_rank)
    if step.vocabulary is not None:
        from kaon_jobs.compress.techniques.vocabulary import VocabularyTrimming

        return VocabularyTrimming(step.vocabulary)
    if step.distill is not None:
        from kaon_jobs.compress.techniques.distillation import Distillation

        return Distillation(step.distill)
    if step.finetune is not None:
        from kaon_jobs.compress.techniques.distillation import Finetuning

        return Finetuning(step.finetune)
    if step.prune is not None:
        from kaon_jobs.compress.techniques.pruning import Pruning

        return Pruning(step.prune)
    raise TechniqueFailed(f"the step is empty: it must be exactly one of {', '.join(STEP_FIELDS)}")


def _of_network(step: Step) -> Technique:
    from kaon_jobs.compress.techniques.networks import ChannelPruning, NetworkDistillation, NetworkFinetuning

    if step.prune is not None and step.prune.method == "channels":
        return ChannelPruning(step.prune)
    if step.distill is not None:
        return NetworkDistillation(step.distill)
    if step.finetune is not None:
        return NetworkFinetuning(step.finetune)
    what = f"prune with method: {step.prune.method}" if step.prune is not None else step.kind
    raise TechniqueFailed(f"{what} is for text encoders, and this is a network: use prune with method: channels")


def _quantization(parameters: Quantize) -> Technique:
    match parameters.scheme:
        case "int8-dynamic":
            from kaon_jobs.compress.techniques.int8_dynamic import Int8Dynamic

            return Int8Dynamic(parameters)
        case "int8-static":
            from kaon_jobs.compress.techniques.int8_static import Int8Static

            return Int8Static(parameters)
        case "int4-weight-only":
            from kaon_jobs.compress.techniques.int4 import Int4WeightOnly

            return Int4WeightOnly(parameters)
        case "fp16":
            from kaon_jobs.compress.techniques.half import HalfStorage

            return HalfStorage(parameters)
        case "bf16":
            from kaon_jobs.compress.techniques.half import HalfStorage

            return HalfStorage(parameters)
