"""tabular-classification: a row of a table in, one of a fixed set of classes out."""

from __future__ import annotations

from kaon.tasks.base import TABLE_COLUMNS, Task
from kaon.tasks.metrics import ACCURACY, AUC, CLASSIFICATION, LOG_LOSS, MACRO_F1
from kaon.tasks.tables import table_builtins

TASK = Task(
    name="tabular-classification",
    metrics=(*CLASSIFICATION, AUC, LOG_LOSS),
    headline=(ACCURACY.name, AUC.name),
    compared=(ACCURACY.name, MACRO_F1.name),
    stopping=LOG_LOSS.name,
    target="class",
    columns=TABLE_COLUMNS,
    most_columns=256,
    builtins=table_builtins(
        linear="logistic regression over the columns of a table", recipe=frozenset({"classWeights", "seed"})
    ),
)
