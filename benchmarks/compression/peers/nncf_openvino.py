"""NNCF where it is at home: quantize_with_accuracy_control on an OpenVINO model, which OpenVINO then runs.

Its accuracy control puts layers back to fp32 until the validation score has lost at most 0.01, which is the budget.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nncf
import openvino
from contract import Case, Made, main
from peers.nncf_data import calibration_dataset, model_type
from peers.sessions import classes_of

MODEL = "model.xml"
WEIGHTS = "model.bin"


def compress(case: Case, out: Path) -> Made:
    """Quantizes and saves in OpenVINO's form."""
    validation = case.rows("validation")

    def validate(model: openvino.CompiledModel, rows: Iterable[int]) -> tuple[float, list[float]]:
        asked, output = list(rows), model.outputs[0]
        some = validation.some(asked)
        found = classes_of(lambda feed: model(feed)[output], some)
        # Beside the metric NNCF wants a value a row, by which it ranks the layers to put back.
        return case.validation_score(some, found), (found == some.labels).astype(float).tolist()

    quantized: Any = nncf.quantize_with_accuracy_control(
        openvino.Core().read_model(str(case.model)),
        calibration_dataset=calibration_dataset(case),
        validation_dataset=nncf.Dataset(range(len(validation)), validation.feed),
        validation_fn=validate,
        max_drop=0.01,
        drop_type=nncf.DropType.ABSOLUTE,
        model_type=model_type(case),
    )
    openvino.save_model(quantized, str(out / MODEL), compress_to_fp16=False)
    return Made("quantize_with_accuracy_control, OpenVINO IR", runtime="openvino", model=MODEL, files=(MODEL, WEIGHTS))


if __name__ == "__main__":
    main(compress, "nncf", "openvino")
