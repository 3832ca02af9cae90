"""Defects put in on purpose, each a plausible one: the exploration must find them all.

A mutant changes the operator's rules while a test runs, never the product. Some are defects that were found here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kaon.api.report import ReportStatus
from kaon.contract.digest import digest_of
from kaon.controllers import serving_children, serving_rollout, stage_plan
from kaon.controllers.base import Child, Object
from kaon.controllers.conditions import conditions_of
from kaon.resources import labels
from kaon.resources.serving_deployment import COMPONENT

from .engine import Engine
from .environment import Environment
from .model import Model
from .planning import Planner
from .state import Budget
from .world import Bounds, World
from .worlds import EDITS, HANDS, LINGERING, NAMESAKES, PAIR, RELAPSE, SERVING

Patch = Any
"""pytest's monkeypatch."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One defect, where it shows, and how."""

    name: str
    world: World
    found: str
    """A part of what is said."""
    make: Callable[[Patch], None]


def _status_over_anything(patch: Patch) -> None:
    patch.setattr(Engine, "may_write_status", lambda self, there, planned_from: True)


def _name_without_digest(patch: Patch) -> None:
    patch.setattr(stage_plan, "child_name", lambda owner, short_name, digest: f"{owner}-{short_name}")


def _name_by_generation(patch: Patch) -> None:
    name = stage_plan.child_name

    def by_generation(run: Any) -> str:
        meta = run.observed.obj["metadata"]
        return f"{name(meta['name'], run.stage.short_name, run.digest)}-{meta['generation']}"

    patch.setattr(stage_plan._Run, "name", property(by_generation))


def _digest_without_input(patch: Patch) -> None:
    def without(content: Object) -> str:
        return digest_of({name: value for name, value in content.items() if name != "dataset"})

    patch.setattr(stage_plan, "digest", without)


def _ready_of_any_generation(patch: Patch) -> None:
    def conditions(state: Any, previous: Object, generation: int, now: Any) -> list[Object]:
        made = original(state, previous, generation, now)
        # What was said of the generation before is carried over: it was Ready.
        was = {item["type"]: item for item in previous.get("conditions", [])}
        if was.get("Ready", {}).get("status") == "True":
            return [{**was.get(item["type"], item), "observedGeneration": generation} for item in made]
        return made

    original = conditions_of
    patch.setattr(stage_plan, "conditions_of", conditions)


def _prune_first(patch: Patch) -> None:
    def next_(self: Engine, state: Any, flight: Any) -> Any:
        planned = self.plans[flight.plan]
        if flight.step == 0 and not flight.wrote and planned.steps:
            prunes = self._prunes(state, flight, planned)
            if prunes:
                return self._airborne(state, flight._replace(step=planned.pruning, prunes=prunes))
        if flight.step == planned.pruning and not flight.prunes and flight.wrote:
            flight = flight._replace(step=0)
        return original(self, state, flight)

    original = Engine._next
    patch.setattr(Engine, "_next", next_)


def _history_again_and_again(patch: Patch) -> None:
    patch.setattr(stage_plan, "same_outcome", lambda one, other, reused: False)


def _nothing_looked_at_again(patch: Patch) -> None:
    number = Planner.number
    patch.setattr(Planner, "number", lambda self, planned: number(self, planned._replace(again=False)))


def _readers_asleep(patch: Patch) -> None:
    patch.setattr(Model, "_readers", lambda self, state, key: [])


def _nothing_looked_up(patch: Patch) -> None:
    """As it was: a complete Job was run again because a watch was late with its result."""
    patch.setattr(Engine, "_looked_up", lambda self, state, keys, index: state)


def _planned_from_before_a_write(patch: Patch) -> None:
    """As it was: a key was planned again before the watches had brought its own last write."""
    patch.setattr(Engine, "may_plan", staticmethod(lambda state, index: True))


def _results_replaced(patch: Patch) -> None:
    """As it was: a pod's result replaced that of another attempt."""
    patch.setattr(Environment, "may_tell", lambda self, report: True)


def _found_again_told_again(patch: Patch) -> None:
    """As it was: a run that found the artifact of an earlier one stood in the history as another."""
    same = stage_plan.same_outcome
    patch.setattr(stage_plan, "same_outcome", lambda one, other, reused: same(one, other))


def _nothing_kept_while_waiting(patch: Patch) -> None:
    patch.setattr(stage_plan, "kept", lambda observed: ())


def _kept_is_made_again(patch: Patch) -> None:
    """As it was: what is kept was created when it had vanished, and any failure was taken for a Job's."""

    def step(self: Planner, owner: int, child: Child) -> Any:
        mode = "create" if child.mode == "keep" else child.mode
        return original(self, owner, dataclasses.replace(child, mode=mode))

    def failed_before(run: Any) -> bool:
        previous = run.observed.obj.get("status", {})
        stalled: Object = next((item for item in previous.get("conditions", []) if item["type"] == "Stalled"), {})
        known = previous.get("inputDigest") == run.digest and run.spec.ttl_seconds_after_finished is not None
        return known and stalled.get("status") == "True"

    original = Planner._step
    patch.setattr(Planner, "_step", step)
    patch.setattr(stage_plan._Run, "_failed_before", failed_before)


def _result_of_any_digest(patch: Patch) -> None:
    """The first Report with a result is believed, whatever digest it is of."""

    def plan(run: Any) -> Any:
        reports = [child for key, child in run.observed.children.items() if key.kind == "Report"]
        said = next((one["status"] for one in reports if one.get("status", {}).get("result")), None)
        if said is None:
            return original(run)
        parsed = ReportStatus.model_validate(said)
        return run._done(None, parsed, parsed.result)

    original = stage_plan._Run.plan
    patch.setattr(stage_plan._Run, "plan", plan)


def _promoted_at_once(patch: Patch) -> None:
    patch.setattr(serving_rollout, "_known_in", lambda *seen: 0.0)


def _promoted_unready(patch: Patch) -> None:
    patch.setattr(serving_rollout, "_proven", lambda roles, state: True)


def _retired_at_once(patch: Patch) -> None:
    patch.setattr(serving_rollout, "_expired", lambda roles, *rest: dataclasses.replace(roles, retiring=None))


def _promotion_forgotten(patch: Patch) -> None:
    """As it was: roles were read from the status alone."""
    original = serving_rollout.roles_of
    patch.setattr("kaon.controllers.modeldeployment.roles_of", lambda status, children, now: original(status, {}, now))


def _servers_before_routes(patch: Patch) -> None:
    """As it was: a revision's Deployment was made before the routers were told of the revision, and stayed."""

    def children(*seen: Any) -> tuple[Child, ...]:
        made = original(*seen)
        first = [child for child in made if _is_server(child) or child.manifest["kind"] in ("NetworkPolicy", "Service")]
        return (*first, *(child for child in made if child not in first))

    original = serving_children.children_of
    patch.setattr("kaon.controllers.modeldeployment.children_of", children)
    for module in ("serving_children", "modeldeployment"):
        patch.setattr(f"kaon.controllers.{module}.listed", lambda children: _Everything())


class _Everything(frozenset[str]):
    def __contains__(self, name: object) -> bool:
        return True


def _is_server(child: Child) -> bool:
    meta = child.manifest["metadata"]
    return bool(child.manifest["kind"] == "Deployment" and meta["labels"].get(labels.COMPONENT) == COMPONENT)


ROLLOUT = SERVING.within(Bounds({Budget.APPLY: 2}, lag=1))
MUTANTS = (
    Mutant("a status is written over a newer object", NAMESAKES, "artifact of another input", _status_over_anything),
    Mutant("a Job's name lacks the digest", EDITS, "is not believed", _name_without_digest),
    Mutant("a Job's name has the generation", EDITS, "two live Jobs", _name_by_generation),
    Mutant("a digest lacks the input's digest", PAIR, "another input", _digest_without_input),
    Mutant("the result of another digest is taken", EDITS, "artifact of another input", _result_of_any_digest),
    Mutant(
        "Ready is carried over to the next generation", EDITS, "Ready without an artifact", _ready_of_any_generation
    ),
    Mutant("what left the plan is pruned before the rest is made", ROLLOUT, "has no Service", _prune_first),
    Mutant("an outcome is told again and again", EDITS, "tells the same twice", _history_again_and_again),
    Mutant("nothing is looked at again", HANDS, "nobody looks at it again", _nothing_looked_at_again),
    Mutant("a change does not wake who refers to it", PAIR, "nobody looks at it again", _readers_asleep),
    Mutant("nothing is kept while inputs are missing", RELAPSE, "deleted while it works", _nothing_kept_while_waiting),
    Mutant("a Job is run again before its Report was looked up", EDITS, "has told its result", _nothing_looked_up),
    Mutant("a plan is made from before a write", PAIR, "from before its own write", _planned_from_before_a_write),
    Mutant("a result replaces another attempt's", LINGERING, "was replaced", _results_replaced),
    Mutant("what is found again is told again", LINGERING, "one artifact twice", _found_again_told_again),
    Mutant("what is kept is made again", HANDS, "not as declared", _kept_is_made_again),
    Mutant("a revision is promoted before routers know it", ROLLOUT, "may not know yet", _promoted_at_once),
    Mutant("a revision is promoted before it answers", ROLLOUT, "does not answer", _promoted_unready),
    Mutant("a revision is retired at once", ROLLOUT, "know it no more", _retired_at_once),
    Mutant("a promotion is forgotten with its status", SERVING, "has no Service", _promotion_forgotten),
    Mutant("servers are made before routers are told", SERVING, "may not know yet", _servers_before_routes),
)
