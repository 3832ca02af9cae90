"""text-classification: a text in, one of a fixed set of classes out."""

from __future__ import annotations

from kaon.tasks.base import Builtin, Task
from kaon.tasks.metrics import ACCURACY, CLASSIFICATION, MACRO_F1

TASK = Task(
    name="text-classification",
    metrics=CLASSIFICATION,
    headline=(ACCURACY.name, MACRO_F1.name),
    compared=(ACCURACY.name, MACRO_F1.name),
    stopping=MACRO_F1.name,
    target="class",
    columns=("text",),
    most_columns=1,
    from_store=True,
    idle=frozenset({"augmentation", "imageSize"}),
    builtins=(
        Builtin(
            name="linear",
            about="a linear support vector machine over the words of a text, weighted by TF-IDF",
            recipe=frozenset({"classWeights", "maxSequenceLength", "seed"}),
        ),
    ),
)
