"""Fields of a recipe that a base model may not know: set where it has them, refused by name where it has none. Pure."""

from __future__ import annotations

from typing import Any

from kaon.api.trainingrun import Recipe
from kaon_jobs.errors import StageFailure

_NOT_OF_ACTIVATIONS = ("layerdrop", "layer_drop", "drop_path", "stochastic_depth")
"""Drop whole layers; other fields have `drop` in their names and drop single activations."""


def set_dropout(config: Any, dropout: float) -> None:
    """Sets every dropout that the model's configuration has, whatever its architecture calls it.

    Raises:
        StageFailure: RecipeUnsupported.
    """
    fields = dropout_fields(config)
    if not fields:
        raise StageFailure(
            "RecipeUnsupported",
            f"recipe.dropout is {dropout:g}, and the base model ({config.model_type}) has no dropout. Leave "
            "recipe.dropout out.",
        )
    for name in fields:
        setattr(config, name, float(dropout))


def dropout_fields(config: Any) -> list[str]:
    """The names of a configuration's dropouts. Without a value (None) a head falls back on another one."""
    return sorted(
        name
        for name, value in config.to_dict().items()
        if "drop" in name
        and not any(part in name for part in _NOT_OF_ACTIVATIONS)
        and (value is None or (isinstance(value, int | float) and not isinstance(value, bool)))
    )


def check_fields(model: Any, recipe: Recipe) -> None:
    """Refuses a recipe that the model cannot follow.

    Raises:
        StageFailure: RecipeUnsupported.
    """
    if recipe.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise StageFailure(
            "RecipeUnsupported",
            f"recipe.gradientCheckpointing is set, and the base model ({model.config.model_type}) cannot do it. Leave "
            "it out; to save memory, lower recipe.batchSize and raise recipe.gradientAccumulationSteps.",
        )
