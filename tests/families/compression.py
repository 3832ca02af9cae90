"""What each technique of compression does on a trained model of a family: it works, or is refused with a sentence.

    run_step(artifact_folder, "prune-heads")

STEPS names every technique, every scheme of quantization, and combinations that a search makes of them. A step works
when the model that it makes answers a text of full length, an empty one and ordinary ones, is what its trained form
says, and, where the step changes no arithmetic, answers as before. Needs the `jobs` extra.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from kaon.api.compressionjob import Step
from kaon.contract.manifest import ModelCard, Signature
from kaon_jobs.compress.families import encoder
from kaon_jobs.compress.search.moves import Pipeline
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.compress.trials.kept import TrialStore
from kaon_jobs.compress.trials.workbench import Question, Workbench
from kaon_jobs.data.splits import Rows
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.learn.export import export_onnx, write_tokenizer
from kaon_jobs.predict.edges import edge_texts
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE, read_card
from kaon_jobs.predict.onnx_text import TOKENIZER_FILE, OnnxTextModel
from kaon_jobs.store.objectstore import open_store

from .builders import CHINESE, FAMILIES, LONGEST, WORDS

CLASSES = ("bird", "fish", "tree")
ROWS = 48
TOLERANCE = 1e-3
"""Largest difference of a probability after a step that changes no arithmetic."""


def _quantize(scheme: str, **more: Any) -> dict[str, Any]:
    return {"quantize": {"scheme": scheme, **more}}


_TRAINING = {"epochs": 1, "batchSize": 16}
_FUSION: dict[str, Any] = {"optimize": "transformer-fusion"}
_STUDENT = {"layers": 2, "hiddenSize": 16, "intermediateSize": 32, "attentionHeads": 2}

STEPS: dict[str, list[dict[str, Any]]] = {
    "vocabulary": [{"vocabulary": {}}],
    "prune-layers": [{"prune": {"method": "layers", "keepLayers": [0, 3]}}],
    "prune-first-layer": [{"prune": {"method": "layers", "keepLayers": [1, 2, 3]}}],
    "prune-ffn": [{"prune": {"method": "ffn", "ratio": 0.5}}],
    "prune-heads": [{"prune": {"method": "heads", "ratio": 0.5}}],
    "prune-magnitude": [{"prune": {"method": "magnitude", "ratio": 0.5}}],
    "distill": [{"distill": _TRAINING}],
    "distill-layers": [{"distill": {**_TRAINING, "keepLayers": [0, 2]}}],
    "distill-student": [{"distill": {**_TRAINING, "student": _STUDENT}}],
    "distill-hidden-states": [{"distill": {**_TRAINING, "hiddenLoss": 1, "keepLayers": [0, 3]}}],
    "distill-attention": [{"distill": {**_TRAINING, "attentionLoss": 1, "keepLayers": [0, 3]}}],
    "distill-int8-aware": [{"distill": {**_TRAINING, "quantizationAware": "int8"}}],
    "finetune": [{"finetune": _TRAINING}],
    "finetune-int4-aware": [{"finetune": {**_TRAINING, "quantizationAware": "int4"}}],
    "fusion": [_FUSION],
    "low-rank": [{"lowRank": {"energy": 0.5}}],
    "int8-dynamic": [_quantize("int8-dynamic")],
    "int8-static": [_quantize("int8-static", calibrationSamples=16)],
    "int4-weight-only": [_quantize("int4-weight-only", blockSize=16)],
    "int4-embeddings": [_quantize("int4-weight-only", blockSize=16, only="embeddings")],
    "int4-products": [_quantize("int4-weight-only", blockSize=16, only="products")],
    "fp16": [_quantize("fp16")],
    "bf16": [_quantize("bf16")],
    "fusion+int8-dynamic": [_FUSION, _quantize("int8-dynamic")],
    "fusion+int8-static": [_FUSION, _quantize("int8-static", calibrationSamples=16)],
    "vocabulary+int4-embeddings": [{"vocabulary": {}}, _quantize("int4-weight-only", blockSize=16, only="embeddings")],
    "all-structures+int8-dynamic": [
        {"vocabulary": {}},
        {"prune": {"method": "layers", "keepLayers": [0, 3]}},
        {"prune": {"method": "ffn", "ratio": 0.5}},
        {"prune": {"method": "heads", "ratio": 0.5}},
        _quantize("int8-dynamic"),
    ],
}
"""Name -> the steps in their order."""
EXACT = {"vocabulary", "fusion"}
"""Steps after which the training texts have the same answers."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step."""

    sentence: str | None = None
    """Why it was refused; None when it works."""

    @property
    def works(self) -> bool:
        """Whether the model that it makes answers as it should."""
        return self.sentence is None


def untrained_artifact(family: str, directory: Path) -> None:
    """Writes what training a tiny base model leaves in its artifact, its weights as they were drawn."""
    trained_form(family, directory)
    export_onnx(encoder.load(directory), directory / MODEL_FILE)


def trained_form(family: str, directory: Path) -> None:
    """Writes the same without the exported model."""
    with tempfile.TemporaryDirectory(prefix="base-") as base:
        FAMILIES[family](Path(base))
        tokenizer = AutoTokenizer.from_pretrained(base)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        model = AutoModelForSequenceClassification.from_pretrained(
            base, num_labels=len(CLASSES), pad_token_id=tokenizer.pad_token_id
        )
    model.save_pretrained(directory)
    write_tokenizer(tokenizer, LONGEST[family], directory)
    card = ModelCard(
        task="text-classification",
        labels=list(CLASSES),
        max_sequence_length=LONGEST[family],
        signature=Signature(inputs=[], outputs=[]),
        serving_files=[MODEL_FILE, TOKENIZER_FILE, CARD_FILE],
    )
    (directory / CARD_FILE).write_text(json.dumps(card.wire()), encoding="utf-8")


def run_step(artifact: Path, name: str) -> Outcome:
    """Does a step on the model of an artifact's folder, as a compression would.

    Raises:
        AssertionError: it was done, and the model that it made answers otherwise than it should.
    """
    steps = tuple(Step.model_validate(step) for step in STEPS[name])
    rows = rows_of(len(read_card(artifact).labels))
    with tempfile.TemporaryDirectory(prefix="step-") as scratch:
        trials = TrialStore(open_store(f"file:///mnt{scratch}/store/compressionjobs", None), {"seed": 0})
        lessons = Lessons(rows, 0, artifact, threads=1)
        before = OnnxTextModel(artifact, 1)
        question = Question(rows.inputs, rows.targets, before.answers(rows.inputs))
        bench = Workbench(
            artifact, Path(scratch) / "made", question, lessons, trials, threads=1, seed=0, measure_memory=False
        )
        try:
            made = bench.build(Pipeline(steps))
        except TechniqueFailed as refused:
            return Outcome(str(refused))
        _check(before, OnnxTextModel(made, 1), edge_texts(before.tokenizer, rows.inputs), rows.inputs, name)
    return Outcome()


def _check(before: OnnxTextModel, after: OnnxTextModel, edges: list[str], texts: list[str], name: str) -> None:
    asked = [*edges, *texts]
    found = after.answers(asked, batch_size=1)
    assert found.shape == (len(asked), len(after.labels)) and np.isfinite(found).all(), f"{name} answers no numbers"
    if name in EXACT:
        difference = float(np.abs(found - before.answers(asked, batch_size=1)).max())
        assert difference <= TOLERANCE, f"{name} changed a probability by {difference:.3g}"


def rows_of(classes: int) -> Rows:
    """Short texts of the builders' words, some in Chinese, of each class as many."""
    draw = random.Random(7)
    texts = []
    for row in range(ROWS):
        words = draw.choices(WORDS[:24], k=draw.randint(2, 12))
        chinese = "".join(draw.choices(CHINESE, k=draw.randint(2, 8))) if row % 4 == 0 else ""
        texts.append(" ".join([*words, chinese]).strip())
    return Rows(texts, np.arange(ROWS, dtype=np.int64) % classes, np.arange(ROWS, dtype=np.int64))
