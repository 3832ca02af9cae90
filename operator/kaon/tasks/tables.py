"""What the tasks of tables share: the models that Kaon trains on rows of a table."""

from __future__ import annotations

from kaon.tasks.base import Builtin


def table_builtins(*, linear: str, recipe: frozenset[str]) -> tuple[Builtin, ...]:
    """The builtin models of a task of tables, the default one first.

    Args:
        linear: what the linear model is.
        recipe: fields of the recipe that have a meaning for all of them.
    """
    return (
        Builtin(
            name="auto",
            about="the best of builtin:linear, builtin:lightgbm and builtin:mlp on rows that they have not learnt from",
            recipe=recipe,
        ),
        Builtin(name="lightgbm", about="gradient boosting of decision trees by LightGBM", recipe=recipe),
        Builtin(name="mlp", about="a small neural net over the columns of a table", recipe=recipe),
        Builtin(name="linear", about=linear, recipe=recipe),
    )
