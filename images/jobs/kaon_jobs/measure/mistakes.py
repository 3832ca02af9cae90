"""The most confident mistakes of a model of images, as thumbnails for its page. Pure."""

from __future__ import annotations

import numpy as np

from kaon.contract.manifest import ModelCard
from kaon_jobs.data.splits import Rows
from kaon_jobs.predict.onnx_model import Floats

SHOWN = 24
_NAME = 24
"""Characters of a class that stand below a thumbnail."""


def confident_mistakes(card: ModelCard, rows: Rows, answers: Floats) -> list[tuple[str, str]]:
    """Thumbnails, each with what the image is, what the model says and how sure it is. None of other models.

    Args:
        answers: probabilities [rows, classes].
    """
    if card.reads != "image":
        return []
    # It brings Pillow, which other models do not need.
    from kaon_jobs.report.thumbnails import thumbnail

    said = answers.argmax(axis=1)
    wrong = np.flatnonzero(said != rows.targets)
    surest = wrong[np.argsort(-answers[wrong, said[wrong]], kind="stable")][:SHOWN]
    return [
        (
            thumbnail(rows.inputs[row]),
            f"{card.labels[rows.targets[row]][:_NAME]}, said {card.labels[said[row]][:_NAME]} "
            f"({answers[row, said[row]]:.0%})",
        )
        for row in surest
    ]
