"""The children of each stage, whole, as files that a reviewer reads. KAON_UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from knownkeys import TRUST

from kaon.controllers import compressionjob, dataset, trainingrun
from kaon.controllers.base import Controller, Images, Key, Object, Observed, OperatorConfig
from kaon.controllers.conditions import parse_timestamp
from kaon.resources.podpolicy import Egress, Placement, PodPolicy

HERE = Path(__file__).parent / "stages"
CONFIG = OperatorConfig(
    trust=TRUST,
    images=Images("kaon/jobs:1", "kaon/triton:1", "kaon/torchserve:1", "kaon/router:1", pull_secrets=("registry",)),
    version="0.1.0",
    storage_uri="s3://kaon/artifacts",
    storage_secret="kaon-store",
    pods=PodPolicy(placement=Placement(priority_classes=("batch",)), egress=Egress()),
)
CASES = sorted(path.name.removesuffix(".in.yaml") for path in HERE.glob("*.in.yaml"))


def controller(kind: str) -> Controller:
    stages = (dataset.CONTROLLER, trainingrun.CONTROLLER, compressionjob.CONTROLLER)
    return next(item for item in stages if item.kind == kind)


def readable(child: Object) -> Object:
    """The JobSpec is JSON in a string; in the golden file it is a tree."""
    if child["kind"] == "Report":
        child["spec"]["job"] = json.loads(child["spec"]["job"])
    return child


@pytest.mark.parametrize("case", CASES)
def test_the_plan_is_as_recorded(case: str) -> None:
    objects = list(yaml.safe_load_all((HERE / f"{case}.in.yaml").read_text()))
    obj, references = objects[0], objects[1:]
    plan = controller(obj["kind"]).plan(
        Observed(
            obj=obj,
            children={},
            pods=[],
            references={Key(item["kind"], "ml", item["metadata"]["name"]): item for item in references},
            occupied=frozenset(),
            now=parse_timestamp("2026-01-01T00:00:00Z"),
            config=CONFIG,
        )
    )
    found = yaml.safe_dump_all(
        [*(readable(child.manifest) for child in plan.children), {"status": plan.status}], sort_keys=False, width=120
    )
    recorded = HERE / f"{case}.out.yaml"
    if os.environ.get("KAON_UPDATE_GOLDEN"):
        recorded.write_text(found)
    assert found == recorded.read_text()


def test_there_are_cases_for_each_stage() -> None:
    kinds = {yaml.safe_load((HERE / f"{case}.in.yaml").read_text().split("---")[0])["kind"] for case in CASES}
    assert kinds == {"Dataset", "TrainingRun", "CompressionJob"}
