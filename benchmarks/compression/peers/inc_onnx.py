"""Intel Neural Compressor's ONNX line, which lives on as onnx-neural-compressor: its accuracy-driven autotune.

It tries its own sets of dynamic and static quantization (networks without attention: static first, as it recommends)
and takes the first that loses at most 0.01 of the validation score, which is the budget.
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

    kinds = [config.DynamicQuantConfig, config.StaticQuantConfig]
    if case.kind != "text":
        kinds.reverse()
    tried = [one for kind in kinds for one in kind.get_config_set_for_tuning(execution_provider="CPUExecutionProvider")]
    # As in its own examples: a fused embedding makes it write a graph that does not load.
    graph = prepared(case, out / "prepared.onnx", fuse_embeddings=False)
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
