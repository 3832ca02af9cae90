"""tabular-regression: a row of a table in, a number out."""

from __future__ import annotations

from kaon.tasks.base import TABLE_COLUMNS, Task
from kaon.tasks.metrics import MAE, R2, REGRESSION, RMSE
from kaon.tasks.tables import table_builtins

TASK = Task(
    name="tabular-regression",
    metrics=REGRESSION,
    headline=(RMSE.name, R2.name),
    compared=(RMSE.name, MAE.name),
    stopping=RMSE.name,
    target="number",
    columns=TABLE_COLUMNS,
    most_columns=256,
    builtins=table_builtins(linear="ridge regression over the columns of a table", recipe=frozenset({"seed"})),
)
