"""Which student is trained next: successive halving over structures (Jamieson and Talwalkar 2016). Pure.

All entrants are trained shortly; the better half goes on from where it is. A student is a structure with the training
it has had, and both stand in its pipeline, so that a longer training starts from the shorter one's cached result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaon.api.compressionjob import Distill, Step
from kaon_jobs.compress.search.moves import Pipeline, Tried
from kaon_jobs.compress.search.shape import Shape, Structure
from kaon_jobs.compress.verdict.selection import LIKELY_TO_PASS, Contender, Standing

ENTRANTS = 6
LIGHT = 0.4
"""Structures of at most this share of the whole model's work come first: heavier ones win little over plain INT8, and
take longest to train."""


@dataclass(frozen=True, slots=True)
class Student:
    """A structure and its trainings."""

    structure: Structure
    lessons: tuple[Distill, ...]

    def pipeline(self, shape: Shape, tail: Sequence[Step]) -> Pipeline:
        """How it is made and exported."""
        return Pipeline((*shape.steps(self.structure), *(Step(distill=lesson) for lesson in self.lessons), *tail))


def on_rung(structure: Structure, rung: int, shape: Shape) -> Student:
    """A structure after the trainings of that rung and of those before."""
    return Student(structure, tuple(Distill(epochs=epochs) for epochs in shape.rungs[: rung + 1]))


def student_of(pipeline: Pipeline, shape: Shape) -> Student | None:
    """What a pipeline trains; None when it trains nothing."""
    lessons = tuple(step.distill for step in pipeline.steps if step.distill is not None)
    return Student(shape.structure_of(pipeline.steps), lessons) if lessons else None


def by_weight(allowed: Sequence[Structure], shape: Shape) -> tuple[list[Structure], list[Structure]]:
    """The light structures, and the heavy ones that are trained only when no light one will do."""
    whole = shape.work(shape.whole)
    light = [item for item in allowed if shape.work(item) <= LIGHT * whole]
    return light, [item for item in allowed if item not in light]


def entrants(allowed: Sequence[Structure]) -> list[Structure]:
    """At most ENTRANTS of the structures, both ends and evenly between, in the order given."""
    if len(allowed) <= ENTRANTS:
        return list(allowed)
    places = {round(index * (len(allowed) - 1) / (ENTRANTS - 1)) for index in range(ENTRANTS)}
    return [allowed[place] for place in sorted(places)]


def next_student(
    allowed: Sequence[Structure], tried: Sequence[Tried], shape: Shape, objective: str, tail: Sequence[Step]
) -> Pipeline | None:
    """The student that halving trains next; None when the last rung is done."""
    results = {item.pipeline: item for item in tried}
    field = entrants(allowed)
    for rung in range(len(shape.rungs)):
        waiting = [on_rung(structure, rung, shape).pipeline(shape, tail) for structure in field]
        for pipeline in waiting:
            if pipeline not in results:
                return pipeline
        ranked = _ranked(field, [results[pipeline].contender for pipeline in waiting], shape, objective)
        field = ranked[: -(-len(ranked) // 2)]
    return None


def _ranked(
    field: Sequence[Structure], found: Sequence[Contender | None], shape: Shape, objective: str
) -> list[Structure]:
    """The structures that could be trained: those that keep their budget first, the cheapest of them at the head; then
    by how far they are from it, and the cheaper one of two that are about as far."""

    def key(pair: tuple[Structure, Contender]) -> tuple[float, float]:
        structure, contender = pair
        # How far it is from its budgets, and how likely it is to be as near as that.
        away = round(contender.excess + 1 - contender.chance, 1)
        return 0.0 if is_safe(contender) else 1 + away, cost(shape, structure, objective)

    known = [(structure, item) for structure, item in zip(field, found, strict=True) if item is not None]
    return [structure for structure, _ in sorted(known, key=key)]


def is_safe(contender: Contender) -> bool:
    """Whether it keeps its budget, and would likely be found to on other rows: those that lie here are few."""
    return contender.standing is Standing.KEEPS and contender.chance >= LIKELY_TO_PASS


def cost(shape: Shape, structure: Structure, objective: str) -> float:
    """What a structure costs by the objective, as a share of the whole: counted, not measured, so that each run ranks
    structures alike."""
    counted = shape.weights if objective == "size" else shape.work
    return counted(structure) / counted(shape.whole)
