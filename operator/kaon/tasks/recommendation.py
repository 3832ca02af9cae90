"""recommendation: what a user has taken in, the items that they take next out."""

from __future__ import annotations

from kaon.tasks.base import INTERACTION_COLUMNS, Builtin, Task
from kaon.tasks.metrics import MRR_AT_10, NDCG_AT_10, RANKING, RECALL_AT_10

_RECIPE = frozenset({"maxSequenceLength", "seed"})

TASK = Task(
    name="recommendation",
    metrics=RANKING,
    headline=(NDCG_AT_10.name, RECALL_AT_10.name),
    compared=(NDCG_AT_10.name, RECALL_AT_10.name, MRR_AT_10.name),
    stopping=NDCG_AT_10.name,
    target="items",
    columns=INTERACTION_COLUMNS,
    most_columns=len(INTERACTION_COLUMNS),
    builtins=(
        Builtin(name="auto", about="the best of the others on the validation split, by nDCG@10", recipe=_RECIPE),
        Builtin(
            name="two-tower",
            about="vectors of items and of what a user has taken, learnt by a sampled softmax; reads the items' texts",
            recipe=_RECIPE,
        ),
        Builtin(name="ease", about="a linear model of each item by all others (EASE)", recipe=_RECIPE),
        Builtin(name="item-knn", about="the items that the same users take, by cosine", recipe=_RECIPE),
        Builtin(name="popularity", about="the items that most users take, the same for all", recipe=_RECIPE),
    ),
)
