"""Which parts of a model suffer most when stored in INT8: each group of nodes quantized alone, outputs compared.

A proxy for every INT8 scheme: it ranks, it does not predict a drop. Uses training rows only, so that neither the
validation nor the test split has a say in what the search tries.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaon_jobs.compress.families import graph
from kaon_jobs.compress.statistics.comparing import comparing_of
from kaon_jobs.compress.techniques.ort import quantize_nodes_dynamically
from kaon_jobs.compress.training.calibration import Calibration
from kaon_jobs.predict.onnx_model import MODEL_FILE
from kaon_jobs.predict.opening import open_model

GROUPS = 8
EXAMPLES = 64


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """A group of neighbouring nodes, and how far the answers move when only it is quantized (see Comparing)."""

    nodes: tuple[str, ...]
    divergence: float


def scan(
    directory: Path, scratch: Path, data: Calibration, threads: int, progress: Callable[[int, int], None]
) -> list[Sensitivity]:
    """The groups of a model's nodes, the most sensitive first. `progress` hears (done, in all)."""
    examples = data.draw(EXAMPLES)
    model = open_model(directory, threads)
    reference, comparing = model.answers(examples), comparing_of(model.labels, model.card.ranks)
    groups = group(graph.weight_nodes(graph.load(directory)))
    trial = scratch / "sensitivity"
    shutil.copytree(directory, trial, ignore=shutil.ignore_patterns(MODEL_FILE))
    found = []
    try:
        for done, nodes in enumerate(groups):
            progress(done, len(groups))
            quantize_nodes_dynamically(graph.load(directory), trial, list(nodes), per_channel=True)
            moved = open_model(trial, threads).answers(examples)
            found.append(Sensitivity(nodes, comparing.divergence(reference, moved)))
    finally:
        shutil.rmtree(trial)
    return sorted(found, key=lambda item: (-item.divergence, item.nodes))


def group(nodes: Sequence[graph.WeightNode], count: int = GROUPS) -> list[tuple[str, ...]]:
    """Embeddings together, the rest in runs of about equal length, in the graph's order."""
    tables = tuple(node.name for node in nodes if node.op_type in ("Gather", "EmbedLayerNormalization"))
    others = [node.name for node in nodes if node.name not in tables]
    runs = np.array_split(np.asarray(others, dtype=object), min(count, len(others))) if others else []
    return [names for names in (tables, *(tuple(run) for run in runs)) if names]
