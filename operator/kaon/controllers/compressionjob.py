"""CompressionJob: one Job that compresses and measures; its verdict on the budget becomes the Accepted condition."""

from __future__ import annotations

from kaon.api import conditions as c
from kaon.api.compressionjob import KIND, CompressionJobSpec
from kaon.api.report import CompressionResult, Result
from kaon.api.trainingrun import DatasetVersion
from kaon.contract.jobspec import CompressWork, InputArtifact, StoreAccess
from kaon.controllers.base import Controller, Key, Object, Observed, Plan
from kaon.controllers.conditions import Claim, State
from kaon.controllers.stage import (
    Ready,
    Stage,
    Verdict,
    await_reference,
    declared,
    failed,
    plan_stage,
    succeeded,
)
from kaon.controllers.upstream import artifact_of, secret_of

REASONS = {"Rejected": "BudgetNotMet", "Infeasible": "BudgetInfeasible"}
REPORTED = (
    "verdict", "baseline", "evaluation", "chosen", "sizeRatio", "speedup", "accuracyDrop", "macroF1Drop",
    "classRecallDrop", "flipRate", "candidates", "sourceDigest",
)  # fmt: skip


def resolve(observed: Observed, spec: CompressionJobSpec, store: StoreAccess) -> Ready | State:
    """The TrainingRun must be ready; its model is judged on the very version of the Dataset that it was trained on."""
    namespace = observed.obj["metadata"]["namespace"]
    run = await_reference(observed, Key(spec.model_ref.kind, namespace, spec.model_ref.name), "spec.modelRef")
    if isinstance(run, State):
        return run
    model, data = artifact_of(run), DatasetVersion.model_validate(run["status"]["dataset"])
    model_secret = secret_of(run, observed.config)
    work = CompressWork(
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
    return Ready(work, address, secrets)


def judge(spec: CompressionJobSpec, result: Result) -> Verdict:
    """Ready when the verdict is Accepted; any other verdict stalls with the pod's sentence."""
    found = result.compression
    if found is None:
        return Verdict(failed("ResultIncomplete", "The Report has no compression result."), {}, artifact=False)
    told = found.wire()
    fields = {name: told[name] for name in REPORTED if name in told}
    if found.verdict == "Accepted" and result.artifact is not None:
        accepted = Claim(True, "BudgetMet", found.message)
        return Verdict(succeeded(_sentence(found), **{c.ACCEPTED: accepted}), fields)
    reason = REASONS.get(found.verdict, "ResultIncomplete")
    refused = Claim(False, reason, found.message)
    return Verdict(failed(reason, found.message, **{c.ACCEPTED: refused}), fields, artifact=False)


def _sentence(found: CompressionResult) -> str:
    size = f"{found.size_ratio:.1f}x smaller" if found.size_ratio is not None else None
    speed = f"{found.speedup.value:.2f}x faster" if found.speedup is not None else None
    drop = f"accuracy drop {found.accuracy_drop:.4f}" if found.accuracy_drop is not None else None
    return f"Accepted {found.chosen or ''}: {', '.join(part for part in (size, speed, drop) if part)}."


STAGE = Stage(KIND, "compressionjobs", "cjob", CompressionJobSpec, resolve, judge)


def plan(observed: Observed) -> Plan:
    """The plan of one CompressionJob."""
    return plan_stage(STAGE, observed)


def references(obj: Object) -> frozenset[Key]:
    """The TrainingRun."""
    ref = obj.get("spec", {}).get("modelRef", {})
    return frozenset(
        {Key(ref["kind"], obj["metadata"]["namespace"], ref["name"])} if {"kind", "name"} <= set(ref) else set()
    )


CONTROLLER = Controller(KIND, plan, references)
