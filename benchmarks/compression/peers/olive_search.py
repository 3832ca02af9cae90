"""Olive: a workflow with a search, as its documentation describes one for an accuracy goal.

Fusion (texts) or pre-processing, then OnnxQuantization with its whole search space (dynamic and static, per channel,
calibration, format …). The metrics are custom ones of olive_metrics.py: latency ranks, and the validation score may
lose at most 0.01, which is the budget. Samples are drawn by TPE.
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
from peers.olive_metrics import CASE_VARIABLE

METRICS = str(Path(__file__).with_name("olive_metrics.py"))
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
        "data_configs": [
            {
                "name": "calibration",
                "user_script": METRICS,
                "load_dataset_config": {"type": "training_rows"},
                "pre_process_data_config": {"type": "skip_pre_process"},
                "post_process_data_config": {"type": "skip_post_process"},
                "dataloader_config": {"type": "default_dataloader", "batch_size": 1},
            }
        ],
        "evaluators": {"budget": {"metrics": [_metric("latency", 1, False), _metric("score", 2, True, 0.01)]}},
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


def _metric(name: str, priority: int, higher_is_better: bool, may_lose: float | None = None) -> dict[str, Any]:
    one: dict[str, Any] = {"name": name, "priority": priority, "higher_is_better": higher_is_better}
    if may_lose is not None:
        one["goal"] = {"type": "max-degradation", "value": may_lose}
    return {
        "name": name,
        "type": "custom",
        "sub_types": [one],
        "user_config": {"user_script": METRICS, "evaluate_func": name},
    }


if __name__ == "__main__":
    main(compress, "olive-ai", "onnxruntime")
