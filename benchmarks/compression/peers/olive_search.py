"""Olive: a workflow with a search, as its documentation describes one for accuracy goals.

Fusion (texts) or peephole optimization, then OnnxQuantization with its whole search space (dynamic and static, per
channel, calibration, format …), samples drawn by TPE. p50 latency ranks; the goals are the budget: accuracy and
macro-F1 on the validation split may lose as much as it says. The first pass is a workflow of its own: in a search its
cached result is met again at each sample, and version 0.13 then fails ("FootprintNode" has no field "model_config").
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import olive
from contract import MODEL_FILE, Case, Made, NotPossible, main
from peers.olive_data import CASE_VARIABLE

DATA = str(Path(__file__).with_name("olive_data.py"))
TRIALS = 16
SECONDS = 900
SEED = 0


def compress(case: Case, out: Path) -> Made:
    """The best of the models that meet the goals."""
    os.environ[CASE_VARIABLE] = str(case.folder)
    with tempfile.TemporaryDirectory() as scratch:
        prepared = _run(Path(scratch) / "prepare", {"prepare": _preparation(case)}, case.model)
        if prepared is None:
            raise NotPossible("the graph could not be prepared; the log says why")
        best = _run(Path(scratch) / "search", {"quantize": _QUANTIZATION}, prepared, _search(case))
        if best is None:
            raise NotPossible("the search found no model inside the budget")
        shutil.copyfile(best, out / MODEL_FILE)
    return Made(f"{_preparation(case)['type']}, then a search over {TRIALS} samples of OnnxQuantization")


def _run(folder: Path, passes: dict[str, Any], model: Path, search: dict[str, Any] | None = None) -> Path | None:
    """The best model of a workflow."""
    folder.mkdir()
    document = {
        "input_model": {"type": "ONNXModel", "model_path": str(model)},
        "systems": {
            "here": {
                "type": "LocalSystem",
                "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
            }
        },
        "host": "here",
        "target": "here",
        "passes": passes,
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / "out"),
        "log_severity_level": 1,
        **(search or {"evaluate_input_model": False}),
    }
    (folder / "workflow.json").write_text(json.dumps(document), encoding="utf-8")
    found = olive.run(str(folder / "workflow.json"), disable_telemetry=True)
    best = found.get_best_candidate() if found is not None and found.has_output_model() else None
    return None if best is None else Path(best.model_path)


_QUANTIZATION = {"type": "OnnxQuantization", "data_config": "calibration"}


def _preparation(case: Case) -> dict[str, Any]:
    if case.kind == "text":
        return {"type": "OrtTransformersOptimization", "model_type": "bert", "opt_level": 0}
    return {"type": "OnnxPeepholeOptimizer"}


def _search(case: Case) -> dict[str, Any]:
    return {
        "data_configs": [_rows("calibration", "training_rows"), _rows("validation", "validation_rows")],
        "evaluators": {"budget": {"metrics": [_latency(), _quality(case)]}},
        "evaluator": "budget",
        "evaluate_input_model": True,
        "search_strategy": {
            "execution_order": "joint",
            "sampler": "tpe",
            "sampler_config": {"max_samples": TRIALS, "seed": SEED},
            "max_iter": TRIALS,
            "max_time": SECONDS,
        },
    }


def _rows(name: str, dataset: str) -> dict[str, Any]:
    return {
        "name": name,
        "user_script": DATA,
        "load_dataset_config": {"type": dataset},
        "pre_process_data_config": {"type": "skip_pre_process"},
        "post_process_data_config": {"type": "highest_score"},
        "dataloader_config": {"type": "default_dataloader", "batch_size": 1},
    }


def _latency() -> dict[str, Any]:
    p50 = {"name": "p50", "priority": 1, "metric_config": {"warmup_num": 10, "repeat_test_num": 60}}
    return {"name": "latency", "type": "latency", "data_config": "validation", "sub_types": [p50]}


def _quality(case: Case) -> dict[str, Any]:
    task = {"task": "multiclass", "num_classes": len(case.labels)}
    allowed = {"accuracy_score": case.budget.accuracy_drop, "f1_score": case.budget.macro_f1_drop}
    averages = {"accuracy_score": "micro", "f1_score": "macro"}
    return {
        "name": "quality",
        "type": "accuracy",
        "data_config": "validation",
        "sub_types": [
            {
                "name": name,
                "priority": priority,
                "metric_config": {**task, "average": averages[name]},
                "goal": {"type": "max-degradation", "value": drop},
            }
            for priority, (name, drop) in enumerate(allowed.items(), start=2)
        ],
    }


if __name__ == "__main__":
    main(compress, "olive-ai", "onnxruntime")
