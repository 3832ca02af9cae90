"""Which kind of model lies in a directory, as far as techniques are concerned. Reads the card and the graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from kaon_jobs.compress.families import graph, trees
from kaon_jobs.compress.families.forms import is_trained_form
from kaon_jobs.predict.onnx_model import read_card

Kind = Literal["encoder", "text", "network", "trees", "ranker"]
"""A text encoder with its weights; any other model of texts; a network over arrays or tables; an ensemble of trees; a
model that ranks items."""

IN_WORDS: Final[Mapping[Kind, tuple[str, str]]] = {
    "encoder": ("a text encoder", "text encoders"),
    "text": ("a model of texts without weights to train", "models of texts"),
    "network": ("a network", "networks"),
    "ranker": ("a model that ranks items", "models that rank items"),
    "trees": ("an ensemble of trees", "ensembles of trees"),
}
"""One of them, and several."""


def kind_of(directory: Path) -> Kind:
    """The kind of an exported model."""
    if read_card(directory).reads == "text":
        return "encoder" if is_trained_form(directory) else "text"
    if read_card(directory).reads == "history":
        return "ranker"
    return "trees" if trees.ensembles(graph.load(directory)) else "network"
