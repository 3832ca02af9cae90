"""TrainingRun: one Job that trains, exports and evaluates; its gate is judged here, on the test split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaon.api import conditions as c
from kaon.api.evaluation import Evaluation, Minimum
from kaon.api.report import ReportStatus, Result
from kaon.api.trainingrun import KIND, DatasetVersion, TrainingRunSpec
from kaon.contract.jobspec import InputArtifact, StoreAccess, TrainWork
from kaon.controllers import display
from kaon.controllers.base import Controller, Key, Object, Observed, Plan
from kaon.controllers.conditions import State
from kaon.controllers.gates import Gate, failures
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
from kaon.controllers.upstream import artifact_of, secret_of
from kaon.resources.access import SHARED

# The gate is judged on the finished evaluation, and checkpoints do not change where training ends.
NOT_IN_ADDRESS = frozenset({"evaluation", "checkpoint", "datasetRef"})


def resolve(observed: Observed, spec: TrainingRunSpec, store: StoreAccess) -> Ready | State:
    """The Dataset must be ready; its artifact's digest is part of the address."""
    key = Key("Dataset", observed.obj["metadata"]["namespace"], spec.dataset_ref.name)
    dataset = await_reference(observed, key, "spec.datasetRef")
    if isinstance(dataset, State):
        return dataset
    found = artifact_of(dataset)
    dataset_secret = secret_of(dataset, observed.config)
    model_secret = spec.model.secret_ref.name if spec.model.secret_ref else store.secret
    work = TrainWork(
        task=dataset["spec"]["task"],
        dataset=InputArtifact(uri=found.uri, digest=found.digest, secret=dataset_secret),
        model=spec.model,
        model_secret=model_secret,
        recipe=spec.recipe,
        checkpoint=spec.checkpoint,
    )
    address = declared(spec, NOT_IN_ADDRESS) | {"dataset": found.digest}
    address["model"] = {name: value for name, value in address["model"].items() if name != "secretRef"}
    secrets = frozenset(name for name in (store.secret, dataset_secret, model_secret) if name)
    version = DatasetVersion(uri=found.uri, digest=found.digest, secret_name=dataset_secret)
    opened_by = {"modelSecret": spec.model.secret_ref.name} if spec.model.secret_ref else {}
    selection = {**opened_by, **claims(spec)}
    return Ready(work, address, secrets, selection, {"dataset": version.wire()})


def evaluation_gates(minimum: Minimum, found: Evaluation) -> tuple[Gate, ...]:
    """The gates of a TrainingRun, in the order in which they are told."""
    return (
        Gate("accuracy", found.accuracy, minimum.accuracy, "at least"),
        Gate("precision", found.precision, minimum.precision, "at least"),
        Gate("recall", found.recall, minimum.recall, "at least"),
        Gate("F1", found.f1, minimum.f1, "at least"),
        Gate("macro-F1", found.macro_f1, minimum.macro_f1, "at least"),
    )


def judge(spec: TrainingRunSpec, result: Result) -> Verdict:
    """Ready when the evaluation on the test split meets the minimum."""
    if result.training is None or result.artifact is None:
        return Verdict(failed("ResultIncomplete", "The Report has no training result."), {}, artifact=False)
    found = result.training.evaluation
    fields = {"evaluation": found.wire(), "display": display.of_training(found)}
    broken = failures(evaluation_gates(spec.evaluation.minimum, found))
    if broken:
        message = (
            f"The model misses spec.evaluation.minimum on {found.rows} test rows: {'; '.join(broken)}. "
            "Change the recipe or the data, or lower the minimum."
        )
        return Verdict(failed(c.GATE_FAILED, message), fields, artifact=False)
    figures = {"accuracy": found.accuracy, "macro-F1": found.macro_f1}
    told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if value is not None)
    return Verdict(succeeded(f"{told} on {found.rows} test rows."), fields)


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
