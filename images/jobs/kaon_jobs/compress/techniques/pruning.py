"""Pruning: structures that go (structure.py) or single weights that become zero, and recovery on the labels.

Magnitude pruning (Han et al. 2015) makes no file smaller and no dense kernel faster: it is for runtimes that know
sparse weights, and for stores that compress.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn.utils import prune
from transformers import PreTrainedModel

from kaon.api.compressionjob import Finetune, Prune
from kaon_jobs.compress.families import anatomy, encoder
from kaon_jobs.compress.families.matrices import Matrix
from kaon_jobs.compress.techniques.distillation import finetune
from kaon_jobs.compress.techniques.structure import StructuredPruning
from kaon_jobs.compress.training.lessons import Lessons


class Pruning:
    """Any of the methods."""

    def __init__(self, parameters: Prune) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """See Technique."""
        wanted = self._parameters
        if wanted.method == "magnitude":
            model = encoder.load(source)
            pruned = zero_smallest(model, wanted.ratio or 0.0)
            if wanted.finetune_epochs is not None:
                finetune(model, source, data, Finetune(epochs=wanted.finetune_epochs))
            for module in pruned:
                prune.remove(module, "weight")
            encoder.save(model, source, target)
            return
        StructuredPruning(wanted).apply(source, target, data)
        if wanted.finetune_epochs is not None:
            model = encoder.load(target)
            finetune(model, target, data, Finetune(epochs=wanted.finetune_epochs))
            encoder.save(model, target, target)


def zero_smallest(model: PreTrainedModel, ratio: float) -> list[torch.nn.Module]:
    """Masks the smallest weights of all encoder matrices together; returns the matrices, whose masks hold in training
    until they are made permanent."""
    linears: list[torch.nn.Module] = [part for part in anatomy.base_of(model).modules() if isinstance(part, Matrix)]
    prune.global_unstructured(
        [(linear, "weight") for linear in linears], pruning_method=prune.L1Unstructured, amount=ratio
    )
    return linears
