"""TrainingRun: one Job that trains, exports and evaluates; its gate is judged here, on the test split."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from kaon.api import conditions as c
from kaon.api.evaluation import beside_baseline
from kaon.api.report import ReportStatus, Result
from kaon.api.trainingrun import KIND, BaseModelSource, DatasetVersion, Recipe, TrainingRunSpec
from kaon.api.types import BUILTIN
from kaon.contract.jobspec import InputArtifact, StoreAccess, TrainWork
from kaon.controllers import display
from kaon.controllers.base import Controller, Key, Object, Observed, Plan
from kaon.controllers.conditions import State
from kaon.controllers.gates import failures
from kaon.controllers.metrics import foreign_metrics, headline, metric_gates, refused, task_of
from kaon.controllers.stage import (
    Ready,
    Stage,
    Verdict,
    await_reference,
    claims,
    declared,
    failed,
    succeeded,
)
from kaon.controllers.stage_plan import plan_stage
from kaon.controllers.upstream import artifact_of, secret_of, signature_field
from kaon.resources.access import SHARED
from kaon.tasks.base import Task
from kaon.tasks.registry import TASKS

# The gate is judged on the finished evaluation, and checkpoints do not change where training ends.
NOT_IN_ADDRESS = frozenset({"evaluation", "checkpoint", "datasetRef"})


def resolve(observed: Observed, spec: TrainingRunSpec, store: StoreAccess) -> Ready | State:
    """The Dataset must be ready; its artifact's digest is part of the address."""
    key = Key("Dataset", observed.obj["metadata"]["namespace"], spec.dataset_ref.name)
    dataset = await_reference(observed, key, "spec.datasetRef")
    if isinstance(dataset, State):
        return dataset
    task = task_of(dataset["spec"]["task"])
    if isinstance(task, State):
        return task
    model = spec.model or default_model(task)
    if isinstance(model, State):
        return model
    foreign = foreign_metrics(task, named_metrics(spec)) or foreign_model(task, model, spec.recipe)
    if foreign is not None:
        return foreign
    builtin = task.builtin(model.builtin or "")
    defaults = builtin.defaults if builtin else {}
    found = artifact_of(dataset)
    dataset_secret = secret_of(dataset, observed.config)
    opens_base = None if model.builtin else store.secret
    model_secret = model.secret_ref.name if model.secret_ref else opens_base
    work = TrainWork(
        task=task.name,
        dataset=InputArtifact(uri=found.uri, digest=found.digest, secret=dataset_secret),
        model=model,
        model_secret=model_secret,
        recipe=spec.recipe.settled(defaults),
        checkpoint=spec.checkpoint,
    )
    # The default is the same declaration, written or not.
    address = declared(spec, NOT_IN_ADDRESS) | {"dataset": found.digest}
    address.pop("recipe", None)
    if recipe := spec.recipe.unsettled(defaults).declared():
        address["recipe"] = recipe
    address["model"] = {name: value for name, value in model.declared().items() if name != "secretRef"}
    secrets = frozenset(name for name in (store.secret, dataset_secret, model_secret) if name)
    version = DatasetVersion(uri=found.uri, digest=found.digest, secret_name=dataset_secret)
    opened_by = {"modelSecret": model.secret_ref.name} if model.secret_ref else {}
    selection = {**opened_by, **claims(spec)}
    return Ready(work, address, secrets, selection, {"task": task.name, "dataset": version.wire()})


def default_model(task: Task) -> BaseModelSource | State:
    """The model of a run that names none; the state of the run where its task has no builtin model."""
    if not task.builtins:
        return refused(c.INVALID_SPEC, f"spec.model is missing, and {task.name} has no builtin model: set it.")
    return BaseModelSource(base=BUILTIN + task.builtins[0].name)


def foreign_model(task: Task, model: BaseModelSource, recipe: Recipe) -> State | None:
    """The state of a run of a model that its task cannot train, or with a recipe that is not for it; else None."""
    builtin = task.builtin(model.builtin or "")
    if builtin is None:
        if model.builtin is None and task.from_store:
            return idle_fields(task, model, recipe.declared().keys() & task.idle)
        known = ", ".join(BUILTIN + one.name for one in task.builtins) or "none"
        message = f"spec.model.base is {model.base}; the builtin models of {task.name} are: {known}."
        if model.builtin is None:
            message = f"{message} It starts from no model of a store."
        return refused(c.INVALID_SPEC, message)
    return idle_fields(task, model, recipe.unsettled(builtin.defaults).declared().keys() - builtin.recipe)


def idle_fields(task: Task, model: BaseModelSource, idle: AbstractSet[str]) -> State | None:
    """The state of a run whose recipe has these fields, which have no meaning for its model; None when there are
    none."""
    if not idle:
        return None
    named = ", ".join(f"spec.recipe.{name}" for name in sorted(idle))
    builtin = task.builtin(model.builtin or "")
    if builtin is None:
        message = f"{named} would change nothing for a model of {task.name}. Remove what is not for it."
    else:
        message = (
            f"{named} would change nothing: {model.base} is {builtin.about}. "
            f"Its recipe has {', '.join(sorted(builtin.recipe))}; remove the others."
        )
    return refused(c.INVALID_SPEC, message)


def named_metrics(spec: TrainingRunSpec) -> dict[str, tuple[str, ...]]:
    """Path of a field -> the metrics that the user names there."""
    stopping = spec.recipe.early_stopping
    watched = (stopping.metric,) if stopping and stopping.metric not in (None, "loss") else ()
    return {
        "spec.evaluation.minimum": tuple(spec.evaluation.minimum or ()),
        "spec.evaluation.maximum": tuple(spec.evaluation.maximum or ()),
        "spec.recipe.earlyStopping.metric": tuple(name for name in watched if name),
    }


def judge(spec: TrainingRunSpec, work: TrainWork, result: Result) -> Verdict:
    """Ready when the evaluation on the test split meets the minimum."""
    if result.training is None or result.artifact is None:
        return Verdict(failed("ResultIncomplete", "The Report has no training result."), {}, artifact=False)
    task, found = TASKS.get(work.task), result.training.evaluation
    fields = {"evaluation": found.wire(), "display": display.of_training(task, found), **signature_field(result)}
    broken = failures(metric_gates(task, found, spec.evaluation.minimum, spec.evaluation.maximum))
    if broken:
        message = (
            f"The model misses spec.evaluation on {found.rows} test rows: {'; '.join(broken)}. "
            "Change the recipe or the data, or the gate."
        )
        return Verdict(failed(c.GATE_FAILED, message), fields, artifact=False)
    told = (f"{headline(task, found, 4)} on {found.rows} test rows.", beside_baseline(task, found))
    return Verdict(succeeded(" ".join(filter(None, told))), fields)


def running_fields(said: ReportStatus) -> Mapping[str, Any]:
    """The checkpoint and the resume, while the Job runs and after it."""
    fields = {
        "lastCheckpoint": said.last_checkpoint.wire() if said.last_checkpoint else None,
        "resumedFromStep": said.resumed_from_step,
    }
    return {name: value for name, value in fields.items() if value is not None}


STAGE = Stage(KIND, "trainingruns", "trun", "training", TrainingRunSpec, resolve, judge, running_fields)


def plan(observed: Observed) -> Plan:
    """The plan of one TrainingRun."""
    return plan_stage(STAGE, observed)


def references(obj: Object) -> frozenset[Key]:
    """The Dataset."""
    name = obj.get("spec", {}).get("datasetRef", {}).get("name")
    return frozenset({Key("Dataset", obj["metadata"]["namespace"], name)} if name else set())


CONTROLLER = Controller(KIND, plan, references, shares=SHARED)
