"""Whether the alerts of a ModelDeployment can be true at all: the classes that they name are the model's. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kaon.api import conditions as c
from kaon.api.evaluation import Evaluation
from kaon.api.modeldeployment import ModelDeploymentSpec
from kaon.contract.answers import MOST_CLASSES
from kaon.controllers.conditions import State
from kaon.controllers.metrics import refused

FIELD = "spec.monitoring.alerts.classShare"
SHOWN = 20


def unknown_classes(spec: ModelDeploymentSpec, evaluation: Evaluation, model: str) -> State | None:
    """The state of a deployment whose alerts name classes that no server counts; None when there are none.

    Args:
        model: how a sentence names what made the model: "TrainingRun films".
    """
    known = [figures.label for figures in evaluation.per_class]
    wrong = [share.name for share in spec.monitoring.alerts.class_share if share.name not in known]
    if not wrong:
        return None
    named = f"{FIELD} names {_listed(wrong)}"
    if not known:
        message = (
            f"{named}, and the evaluation of {model} lists no classes: it predicts no class, or was made by an older "
            f"version. Remove {FIELD}, or set spec.rerun on {model}."
        )
    elif len(known) < MOST_CLASSES:
        message = (
            f"{named}, which {'are no classes' if len(wrong) > 1 else 'is no class'} of {model}. Its classes are "
            f"{_listed(known)}. Correct the names, or remove these entries."
        )
    else:
        message = (
            f"{named}, and servers do not count {'these classes' if len(wrong) > 1 else 'this class'} apart from "
            f"others: of {model} they count the {MOST_CLASSES} classes that its evaluation lists ({_listed(known)}). "
            "Name one of these, or remove these entries."
        )
    return refused(c.CLASS_UNKNOWN, message)


def _listed(names: Iterable[str]) -> str:
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - SHOWN} more" if len(quoted) > SHOWN else ""
    return ", ".join(quoted[:SHOWN]) + more
