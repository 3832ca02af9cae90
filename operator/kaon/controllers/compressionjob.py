"""CompressionJob: one Job that compresses and measures; its verdict on the budget becomes the Accepted condition."""

from __future__ import annotations

from kaon.api import conditions as c
from kaon.api.compressionjob import KIND, Budget, CompressionJobSpec
from kaon.api.report import CompressionResult, Result
from kaon.api.trainingrun import DatasetVersion
from kaon.contract.jobspec import CompressWork, InputArtifact, StoreAccess
from kaon.controllers import display
from kaon.controllers.base import Controller, Key, Object, Observed, Plan
from kaon.controllers.conditions import Claim, State
from kaon.controllers.metrics import foreign_metrics, refused, task_of
from kaon.controllers.stage import (
    Ready,
    Stage,
    Verdict,
    await_reference,
    declared,
    failed,
    succeeded,
    waiting,
)
from kaon.controllers.stage_plan import plan_stage
from kaon.controllers.upstream import artifact_of, secret_of, signature_field
from kaon.resources.access import SHARED
from kaon.tasks.base import Task
from kaon.tasks.registry import METRICS, TASKS

REASONS = {"Rejected": "BudgetNotMet", "Inconclusive": "BudgetInconclusive", "Infeasible": "BudgetInfeasible"}
REPORTED = (
    *("verdict", "baseline", "evaluation", "chosen", "sizeRatio", "speedup", "drops", "classRecallDrop", "flipRate"),
    *("candidates", "undecided", "sourceDigest"),
)


def resolve(observed: Observed, spec: CompressionJobSpec, store: StoreAccess) -> Ready | State:
    """The TrainingRun must be ready; its model is judged on the very version of the Dataset that it was trained on."""
    namespace = observed.obj["metadata"]["namespace"]
    run = await_reference(observed, Key(spec.model_ref.kind, namespace, spec.model_ref.name), "spec.modelRef")
    if isinstance(run, State):
        return run
    name = run["status"].get("task")
    if name is None:
        # The status is of an operator before this one, which writes it again in a moment.
        return waiting(c.INPUTS_NOT_READY, f"Waiting for the task of {spec.model_ref.kind} {spec.model_ref.name}.")
    task = task_of(name)
    if isinstance(task, State):
        return task
    foreign = foreign_budget(task, spec.budget)
    if foreign is not None:
        return foreign
    model, data = artifact_of(run), DatasetVersion.model_validate(run["status"]["dataset"])
    model_secret = secret_of(run, observed.config)
    work = CompressWork(
        task=task.name,
        model=InputArtifact(uri=model.uri, digest=model.digest, secret=model_secret),
        dataset=InputArtifact(uri=data.uri, digest=data.digest, secret=data.secret_name),
        budget=spec.budget,
        objective=spec.objective,
        strategy=spec.strategy,
        steps=spec.steps,
        search=spec.search,
        target=spec.target,
    )
    address = declared(spec, frozenset({"modelRef"})) | {"model": model.digest, "dataset": data.digest}
    secrets = frozenset(name for name in (store.secret, model_secret, data.secret_name) if name)
    return Ready(work, address, secrets, fields={"task": task.name})


def foreign_budget(task: Task, budget: Budget) -> State | None:
    """The state of a job whose budget bounds what its task does not measure; None when there is none."""
    foreign = foreign_metrics(task, {"spec.budget.maxDrop": budget.max_drop or {}})
    if foreign is None and budget.max_class_recall_drop is not None and not task.has_classes:
        message = f"spec.budget.maxClassRecallDrop is for tasks with classes, and {task.name} has none. Use maxDrop."
        return refused(c.METRIC_UNKNOWN, message)
    return foreign


def judge(spec: CompressionJobSpec, work: CompressWork, result: Result) -> Verdict:
    """Ready when the verdict is Accepted, or Inconclusive and the budget says that this is enough.

    Any other verdict stalls with the pod's sentence. The pod publishes a model only when it may be used, so that both,
    verdict and artifact, must be there.
    """
    found = result.compression
    if found is None:
        return Verdict(failed("ResultIncomplete", "The Report has no compression result."), {}, artifact=False)
    task, told = TASKS.get(work.task), found.wire()
    fields = {name: told[name] for name in REPORTED if name in told} | signature_field(result)
    fields["display"] = display.of_compression(task, found)
    reason = REASONS.get(found.verdict, "ResultIncomplete")
    tolerated = found.verdict == "Inconclusive" and spec.budget.on_inconclusive == "Accept"
    if result.artifact is not None and (found.verdict == "Accepted" or tolerated):
        accepted = Claim(True, reason if tolerated else "BudgetMet", found.message)
        return Verdict(succeeded(_sentence(task, found), **{c.ACCEPTED: accepted}), fields)
    refused = Claim(False, reason, found.message)
    return Verdict(failed(reason, found.message, **{c.ACCEPTED: refused}), fields, artifact=False)


def _sentence(task: Task | None, found: CompressionResult) -> str:
    size = f"{found.size_ratio:.1f}x smaller" if found.size_ratio is not None else None
    speed = f"{found.speedup.value:.2f}x faster" if found.speedup is not None else None
    first = next((name for name in (task.compared if task else found.drops) if name in found.drops), None)
    metric = METRICS.get(first or "")
    drop = f"{metric.loss_title} {metric.written(found.drops[first])}" if first and metric else None
    doubt = "" if found.verdict == "Accepted" else "though the test rows are too few to be sure, "
    return f"Accepted {found.chosen or ''}: {doubt}{', '.join(part for part in (size, speed, drop) if part)}."


STAGE = Stage(KIND, "compressionjobs", "cjob", "compression", CompressionJobSpec, resolve, judge)


def plan(observed: Observed) -> Plan:
    """The plan of one CompressionJob."""
    return plan_stage(STAGE, observed)


def references(obj: Object) -> frozenset[Key]:
    """The TrainingRun."""
    ref = obj.get("spec", {}).get("modelRef", {})
    return frozenset(
        {Key(ref["kind"], obj["metadata"]["namespace"], ref["name"])} if {"kind", "name"} <= set(ref) else set()
    )


CONTROLLER = Controller(KIND, plan, references, shares=SHARED)
