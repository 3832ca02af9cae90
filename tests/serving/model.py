"""The tiny model's answers, computed here by the file that the servers run."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from serving.run import Predict
from tests.unit.jobs.serve import tiny

from kaon_jobs import runtime


def predictor(folder: Path) -> Predict:
    """Texts to rows of probabilities, one text at a time."""
    tiny.write_model(folder)
    settings = {"labels": tiny.LABELS, "maxSequenceLength": tiny.MAX_LENGTH, "maxBatchSize": 1, "threads": 1}
    files = {"model": "model.onnx", "tokenizer": "tokenizer.json"}
    (folder / "serving.json").write_text(json.dumps({**settings, **files}))
    spec = importlib.util.spec_from_file_location("classifier", Path(runtime.__file__).with_name("classifier.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    classifier = module.Classifier(folder)

    def predict(texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = [classifier.probabilities([text])[0].tolist() for text in texts]
        return rows

    return predict
