"""After halving: Optuna looks around the best students, in shape and in training, for something smaller or faster.

A pure function of what was tried: the study is built anew from it each time, and its sampler is seeded by the search's
seed and the number of trials. Two objectives: what a structure costs, and how far it is from its budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kaon.api.compressionjob import Distill, Step
from kaon_jobs.compress.search.moves import Pipeline, Question, Tried
from kaon_jobs.compress.search.shape import Costs, Shape, Structure
from kaon_jobs.compress.search.students import Student, cost, is_safe, student_of

TEMPERATURES = (1.0, 2.0, 4.0)
ALPHAS = (0.0, 0.1, 0.5)
SEEDS = (0, 1, 2)
ASKED = 200
"""Proposals that are looked at before the space counts as used up."""
LEAP, FIXED = 1.75, 0.1
"""A structure that costs so many times less than the best one is not tried yet. To both is added a tenth of what the
whole costs, which no structure takes away."""


def widen(question: Question, costs: Costs, tried: Sequence[Tried], tail: Sequence[Step]) -> Pipeline | None:
    """The next student to try, or None when nothing that could win is left."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    shape = costs.shape
    space = _space(shape)
    sampler = optuna.samplers.TPESampler(seed=question.limits.seed + len(tried), n_startup_trials=4, multivariate=True)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    known = {item.pipeline for item in tried}
    best = cheapest(question, shape, tried)
    for item in tried:
        student = student_of(item.pipeline, shape)
        if student is None or item.contender is None:
            continue
        parameters = _parameters(student, shape)
        if all(value in space[name].choices for name, value in parameters.items()):
            values = [
                cost(shape, student.structure, question.objective),
                item.contender.excess + 1 - item.contender.chance,
            ]
            study.add_trial(optuna.trial.create_trial(params=parameters, distributions=space, values=values))
    for _ in range(ASKED):
        trial = study.ask(space)
        student = _student(trial.params, shape)
        pipeline = student.pipeline(shape, tail)
        new = pipeline not in known and within(question, costs, student.structure)
        if new and (best is None or _better(question, shape, student.structure, best)):
            return pipeline
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return None


def cheapest(question: Question, shape: Shape, tried: Sequence[Tried]) -> Structure | None:
    """The structure that costs least of the students that keep their budget; None when none does."""
    kept = []
    for item in tried:
        student = student_of(item.pipeline, shape)
        if student is not None and item.contender is not None and is_safe(item.contender):
            kept.append(student.structure)
    return min(kept, key=lambda structure: cost(shape, structure, question.objective), default=None)


def _better(question: Question, shape: Shape, structure: Structure, best: Structure) -> bool:
    now, then = (cost(shape, item, question.objective) for item in (best, structure))
    return then < now and FIXED + now <= LEAP * (FIXED + then)


def within(question: Question, costs: Costs, structure: Structure) -> bool:
    """Whether the structure is expected to keep the budgets on size and speed, give or take the lines' error."""
    return (
        costs.size_ratio(structure) * SIZE_DOUBT >= question.size_ratio
        and costs.speedup(structure) * SPEED_DOUBT >= question.speedup
    )


SIZE_DOUBT = 1.03
SPEED_DOUBT = 1.15


def _space(shape: Shape) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution

    choices = {
        **shape.choices,
        "epochs": shape.epochs,
        "rate": shape.rates,
        "temperature": TEMPERATURES,
        "alpha": ALPHAS,
        "seed": SEEDS,
    }
    return {name: CategoricalDistribution(values) for name, values in choices.items()}


def _parameters(student: Student, shape: Shape) -> dict[str, Any]:
    """A student of halving counts as one that was trained for as many epochs at once, the nearest number there is."""
    lesson = student.lessons[-1]
    epochs = sum(one.epochs or 0 for one in student.lessons)
    return {
        **shape.parameters(student.structure),
        "epochs": min(shape.epochs, key=lambda choice: abs(choice - epochs)),
        "rate": lesson.learning_rate or shape.rates[len(shape.rates) // 2],
        "temperature": lesson.temperature or 2.0,
        "alpha": 0.1 if lesson.alpha is None else lesson.alpha,
        "seed": lesson.seed or 0,
    }


def _student(parameters: dict[str, Any], shape: Shape) -> Student:
    lesson = Distill(
        epochs=parameters["epochs"],
        learning_rate=parameters["rate"],
        temperature=parameters["temperature"],
        alpha=parameters["alpha"],
        seed=parameters["seed"],
    )
    return Student(shape.structure(parameters), (lesson,))
