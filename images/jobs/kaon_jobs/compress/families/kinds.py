"""Which kind of model lies in a directory, as far as techniques are concerned. Reads the card and the graph."""

from __future__ import annotations

from pathlib import Path

from kaon_jobs.compress.families import graph, trees
from kaon_jobs.compress.families.forms import is_trained_form
from kaon_jobs.compress.techniques.base import Kind
from kaon_jobs.predict.onnx_model import read_card


def kind_of(directory: Path) -> Kind:
    """The kind of an exported model."""
    if read_card(directory).reads == "text":
        return "encoder" if is_trained_form(directory) else "text"
    return "trees" if trees.ensembles(graph.load(directory)) else "network"
