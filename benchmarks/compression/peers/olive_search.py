"""Olive: a workflow with a search, as its documentation describes one for accuracy goals.

Fusion (texts) or peephole optimization, then OnnxQuantization with its whole search space (dynamic and static, per
channel, calibration, format …), samples drawn by TPE. p50 latency ranks; the goals are the budget: accuracy and
macro-F1 on the validation split may lose as much as it says.
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
SECONDS = 1800
SEED = 0


def compress(case: Case, out: Path) -> Made:
    """The best of the models that meet the goal."""
    os.environ[CASE_VARIABLE] = str(case.folder)
    with tempfile.TemporaryDirectory() as scratch:
        document = Path(scratch) / "workflow.json"
        document.write_text(json.dumps(workflow(case, Path(scratch))), encoding="utf-8")
        found = olive.run(str(document), disable_telemetry=True)
        best = found.get_best_candidate() if found is not None and found.has_output_model() else None
        if best is None:
            raise NotPossible("the search found no model inside the budget")
        shutil.copyfile(best.model_path, out / MODEL_FILE)
        history = found.trace_back_run_history(best.model_id)
    steps = [str(step.get("pass_name") or step.get("type")) for step in history.values() if isinstance(step, dict)]
    return Made(f"search over {TRIALS} samples; kept: {', '.join(steps) or best.from_pass}")


def workflow(case: Case, scratch: Path) -> dict[str, Any]:
    """The document that `olive run` takes."""
    first: dict[str, Any] = {"type": "OnnxPeepholeOptimizer"}
    if case.kind == "text":
        first = {"type": "OrtTransformersOptimization", "model_type": "bert", "opt_level": 0}
    return {
        "input_model": {"type": "ONNXModel", "model_path": str(case.model)},
        "systems": {
            "here": {
                "type": "LocalSystem",
                "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
            }
        },
        "data_configs": [_rows("calibration", "training_rows"), _rows("validation", "validation_rows")],
        "evaluators": {"budget": {"metrics": [_latency(), _quality(case)]}},
        "passes": {
            "prepare": first,
            "quantize": {"type": "OnnxQuantization", "data_config": "calibration"},
        },
        "search_strategy": {
            "execution_order": "joint",
            "sampler": "tpe",
            "sampler_config": {"max_samples": TRIALS, "seed": SEED},
            "max_time": SECONDS,
        },
        "evaluator": "budget",
        "host": "here",
        "target": "here",
        "cache_dir": str(scratch / "cache"),
        "output_dir": str(scratch / "out"),
        "evaluate_input_model": True,
        "log_severity_level": 1,
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
