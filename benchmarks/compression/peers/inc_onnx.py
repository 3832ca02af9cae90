"""Intel Neural Compressor's ONNX line, which lives on as onnx-neural-compressor: its accuracy-driven autotune.

It tries its own sets of static and dynamic quantization in its own order, and takes the first that loses at most 0.01
of the validation score, which is the budget.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from contract import MODEL_FILE, Case, Made, NotPossible, main
from onnx_neural_compressor.quantization import config, tuning
from peers.ort_graphs import prepared
from peers.sessions import Reader, calibration, predicted

MOST_TRIALS = 12


def compress(case: Case, out: Path) -> Made:
    """The first configuration that keeps the budget."""
    validation = case.rows("validation")
    reader = Reader(calibration(case, fixed_length=True))

    def evaluate(model: str) -> float:
        return case.validation_score(validation, predicted(model, validation, case.threads))

    tried = [
        *config.DynamicQuantConfig.get_config_set_for_tuning(execution_provider="CPUExecutionProvider"),
        *config.StaticQuantConfig.get_config_set_for_tuning(execution_provider="CPUExecutionProvider"),
    ]
    graph = prepared(case, out / "prepared.onnx")
    try:
        best = tuning.autotune(
            str(graph),
            tuning.TuningConfig(config_set=tried, tolerable_loss=0.01, max_trials=MOST_TRIALS),
            evaluate,
            calibration_data_reader=reader,
        )
    except SystemExit as end:
        # This is how the library says that nothing kept the tolerated loss.
        raise NotPossible("autotune found no configuration inside the budget") from end
    finally:
        graph.unlink()
    onnx.save(best, out / MODEL_FILE)
    return Made("autotune over its dynamic and static configurations")


if __name__ == "__main__":
    main(compress, "onnx-neural-compressor", "onnxruntime")
