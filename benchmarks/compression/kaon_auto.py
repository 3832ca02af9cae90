"""Kaon's part: its whole compress stage with `strategy: auto`, as a CompressionJob would run it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from contract import MODEL_FILE, OWN_TEST_FILE, Case, Made, NotPossible, Result, timed, write_result, write_rows
from stages import Stages, artifact
from texts import PARQUET_FOLDER, encoded

from kaon import __version__
from kaon.api.report import Result as StageResult
from kaon.contract.jobspec import InputArtifact
from kaon_jobs.predict.onnx_text import OnnxTextModel
from kaon_jobs.store.artifact import fetch

NAME = "kaon"
TITLE = "Kaon, strategy auto"

Trained = tuple[InputArtifact, InputArtifact]
"""The artifacts of a TrainingRun's model and of its Dataset."""


def run(case: Case, trained: Trained, limits: Mapping[str, int], out: Path) -> Result:
    """What the stage made in `out`, where its log and its store lie too."""
    result = timed(lambda case, out: _compress(case, trained, limits, out), case, out, f"kaon {__version__}")
    write_result(out, result)
    return result


def _compress(case: Case, trained: Trained, limits: Mapping[str, int], out: Path) -> Made:
    # Kaon's default refuses what so few test rows cannot show; nobody else here asks for more than the figures.
    result = stage(case, trained, {**quality(case), "onInconclusive": "Accept"}, limits, out)
    found = result.compression
    assert found is not None
    if result.artifact is None:
        raise NotPossible(f"{found.verdict}: {found.message}")
    card = fetch(artifact(result), out / "model", kinds={"compressed-model"}).manifest.model
    assert card is not None
    if case.kind == "text":
        # Vocabulary may have been trimmed: the test texts are given as the compressed model's own tokenizer reads them.
        rows = encoded(OnnxTextModel(out / "model", case.threads), case.folder / PARQUET_FOLDER, "test")
        write_rows(out / OWN_TEST_FILE, rows)
    files = tuple(f"model/{name}" for name in card.serving_files)
    return Made(f"{found.verdict}: {found.chosen}", model=f"model/{MODEL_FILE}", files=files, complete=True)


def quality(case: Case) -> dict[str, float]:
    """The case's budget as a CompressionJob says it."""
    return {"maxDrop": {"accuracy": case.budget.accuracy_drop, "macroF1": case.budget.macro_f1_drop}}


def stage(
    case: Case, trained: Trained, budget: Mapping[str, object], limits: Mapping[str, int], out: Path
) -> StageResult:
    """The compress stage for a budget, its store and log in `out`. Nothing of an earlier run is reused."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    model, dataset = trained
    return Stages(out / "store", out / "log").run(
        "compressionjobs",
        {
            "stage": "compress",
            "task": "text-classification",
            "model": model.wire(),
            "dataset": dataset.wire(),
            "budget": dict(budget),
            "objective": "latency",
            "strategy": "auto",
            "search": dict(limits),
            "target": {"threads": case.threads},
        },
    )
