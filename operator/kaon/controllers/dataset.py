"""Dataset: one Job that reads, checks, cleans and splits; its quality gate is judged here, on what the pod counted."""

from __future__ import annotations

from kaon.api import conditions as c
from kaon.api.base import ApiModel
from kaon.api.dataset import KIND, DataQuality, DatasetSpec, QualityGate
from kaon.api.report import Result
from kaon.contract.digest import short
from kaon.contract.jobspec import DatasetSource, DatasetWork, StoreAccess
from kaon.controllers.base import Controller, Key, Object, Observed, Plan
from kaon.controllers.conditions import State
from kaon.controllers.gates import Gate, failures
from kaon.controllers.stage import Ready, Stage, Verdict, claims, declared, failed, succeeded
from kaon.controllers.stage_plan import plan_stage
from kaon.resources.access import SHARED

# The gate is judged on the counts of the finished stage: editing it runs nothing again.
JUDGED_HERE = frozenset({"quality"})


def resolve(observed: Observed, spec: DatasetSpec, store: StoreAccess) -> Ready | State:
    """A Dataset needs no other resource: its inputs are its sources."""
    sources = [
        DatasetSource(**_fields(source), secret=source.secret_ref.name if source.secret_ref else store.secret)
        for source in spec.sources
    ]
    work = DatasetWork(
        task=spec.task,
        sources=sources,
        format=spec.format,
        encoding=spec.encoding,
        delimiter=spec.delimiter,
        columns=spec.columns,
        clean=spec.clean.settled(tables=spec.columns.is_table),
        split=spec.split,
    )
    address = declared(spec, JUDGED_HERE)
    # Which Secret opens a source is no part of the address: the bytes that it leads to are.
    address["sources"] = [{name: v for name, v in item.items() if name != "secretRef"} for item in address["sources"]]
    secrets = frozenset(item.secret for item in sources if item.secret) | ({store.secret} if store.secret else set())
    opened_by = [source.secret_ref.name if source.secret_ref else "" for source in spec.sources]
    selection = {"secrets": opened_by} if any(opened_by) else {}
    return Ready(work, address, secrets, {**selection, **claims(spec)})


def _fields(model: ApiModel) -> dict[str, object]:
    return {name: getattr(model, name) for name in type(model).model_fields}


def quality_gates(gate: QualityGate, found: DataQuality, rows: int) -> tuple[Gate, ...]:
    """The gates of a Dataset, in the order in which they are told."""
    smallest = "the smallest class" if found.smallest_class is None else repr(found.smallest_class)
    return (
        Gate("rows", rows, gate.min_rows, "at least"),
        Gate(f"training rows of {smallest}", found.min_rows_per_class, gate.min_rows_per_class, "at least"),
        Gate("missing ratio", found.missing_ratio, gate.max_missing_ratio, "at most"),
        Gate("duplicate ratio", found.duplicate_ratio, gate.max_duplicate_ratio, "at most"),
        Gate("leakage (rows)", found.leakage, gate.max_leakage, "at most"),
    )


def judge(spec: DatasetSpec, work: DatasetWork, result: Result) -> Verdict:
    """Ready when every quality gate holds."""
    if result.dataset is None or result.artifact is None:
        return Verdict(failed("ResultIncomplete", "The Report has no dataset result."), {}, artifact=False)
    # A pod of an older build lists all classes.
    found = result.dataset.reported()
    rows, classes = found.rows, found.class_count or len(found.classes)
    fields = {
        "version": short(result.artifact.digest, 12),
        "rows": rows.wire(),
        "quality": found.quality.wire(),
        **({"classes": found.classes, "classCount": classes} if classes else {}),
    }
    broken = failures(quality_gates(spec.quality, found.quality, rows.train + rows.validation + rows.test))
    if broken:
        message = f"The data misses spec.quality: {'; '.join(broken)}. Mend the sources or lower the gate."
        return Verdict(failed(c.GATE_FAILED, message), fields, artifact=False)
    counts = f"{rows.train} training, {rows.validation} validation and {rows.test} test rows"
    unreadable = found.quality.unreadable
    rows_word = "row was" if unreadable == 1 else "rows were"
    left_out = f" {unreadable} unreadable {rows_word} left out." if unreadable else ""
    return Verdict(succeeded(f"{counts} of {_parts(spec, classes, found.quality)}.{left_out}"), fields)


def _parts(spec: DatasetSpec, classes: int, found: DataQuality) -> str:
    """What rows are made of: columns of a table, and classes where there are any; or users and items."""
    if spec.columns.is_interactions:
        return f"{found.users or 0:,} users and {found.items or 0:,} items"
    columns = len(spec.columns.features)
    table = [] if not spec.columns.is_table else ["1 column" if columns == 1 else f"{columns} columns"]
    return " and ".join([*table, *([f"{classes} classes"] if classes else [])])


STAGE = Stage(KIND, "datasets", "dset", "dataset", DatasetSpec, resolve, judge)


def plan(observed: Observed) -> Plan:
    """The plan of one Dataset."""
    return plan_stage(STAGE, observed)


def references(obj: Object) -> frozenset[Key]:
    """A Dataset refers to no other resource."""
    return frozenset()


CONTROLLER = Controller(KIND, plan, references, shares=SHARED)
