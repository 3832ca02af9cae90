"""A tiny pipeline over any base model: a Dataset's artifact, and stages run as a pod runs them. Needs no cluster."""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
from knownkeys import TRUST
from transformers import AutoModelForSequenceClassification

from kaon.api.report import Result
from kaon.contract.digest import digest_of
from kaon.contract.jobspec import FetchWork, InputArtifact, JobSpec
from kaon.contract.manifest import Manifest
from kaon_jobs.context import Context
from kaon_jobs.learn.export import PARITY_TOLERANCE, answers_of_both
from kaon_jobs.predict.edges import edge_texts, spread_texts
from kaon_jobs.predict.onnx_text import OnnxTextModel
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.runtime.text import load_tokenizer
from kaon_jobs.store.trust import TRUST_VARIABLE, write_keys

from .builders import WORDS

KINDS = {"bird": WORDS[0:8], "fish": WORDS[8:16], "tree": WORDS[16:24]}
FILLER = WORDS[24:]
VISIBLE = 0.05
"""A difference from the trained model, as a share of how far the logits of different texts lie apart, at most: a model
whose answers hardly differ would otherwise agree with any other."""

PLAIN: dict[str, Any] = {"epochs": 2, "batchSize": 16, "learningRate": 0.003, "maxSequenceLength": 64, "seed": 1}
EVERY_FIELD: dict[str, Any] = {
    **PLAIN,
    "epochs": 1,
    "scheduler": "cosine",
    "warmupRatio": 0.2,
    "weightDecay": 0.05,
    "dropout": 0.2,
    "labelSmoothing": 0.1,
    "classWeights": "balanced",
    "gradientAccumulationSteps": 2,
    "maxGradNorm": 0.5,
    "precision": "bf16",
    "earlyStopping": {"metric": "macroF1", "patience": 1},
}
"""A recipe that sets every field but one, which some families cannot do."""
CHECKPOINTING: dict[str, Any] = {**PLAIN, "epochs": 1, "gradientCheckpointing": True}


class Pipeline:
    """A folder with data and an artifact store, and the stages over them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._runs = 0
        # Behind file:///mnt stands any path of this machine.
        os.environ["KAON_CLAIMS_DIR"] = "/"
        write_keys(root / "keys", TRUST.key("test"))
        os.environ[TRUST_VARIABLE] = str(root / "keys")
        self.dataset = self._dataset()

    def train(self, base: Path, recipe: dict[str, Any]) -> Result:
        """Trains a base model's folder; raises StageFailure as the stage does."""
        from kaon_jobs.programs import train as stage

        work = {
            "stage": "train",
            "task": "text-classification",
            "dataset": self._reference(self.dataset),
            "model": {"base": f"file:///mnt{base}"},
            "recipe": recipe,
            "checkpoint": {},
        }
        job = self._job("trainingruns", work)
        given: Any = job.work
        return stage.run(job, given, self._context())

    def evaluate(self, trained: Result) -> Result:
        """Evaluates a trained model on the test split."""
        from kaon_jobs.programs import evaluate as stage

        work = {"stage": "evaluate", "model": self._reference(trained), "dataset": self._reference(self.dataset)}
        job = self._job("evaluations", work)
        given: Any = job.work
        return stage.run(job, given, self._context())

    def served(self, trained: Result) -> Path:
        """Lays a trained model out as for Triton, and returns the folder of its one version."""
        from kaon_jobs.programs import fetch

        target = self.root / f"served-{self._runs}"
        target.mkdir()
        work = FetchWork(
            model=InputArtifact(**self._reference(trained)),
            kind="model",
            server="triton",
            model_name="m",
            target_dir=str(target),
        )
        fetch.run(self._job("servings", work.wire()), work, self._context())
        return target / "repository" / "m" / "1"

    def folder(self, result: Result) -> Path:
        """The files of an artifact."""
        assert result.artifact is not None
        top = Path(result.artifact.uri.removeprefix("file:///mnt"))
        return top / Manifest.model_validate_json((top / "kaon.json").read_bytes()).attempt

    def texts(self) -> list[str]:
        """The training rows' texts."""
        return [line.split(",")[0] for line in (self.root / "data/train.csv").read_text().splitlines()[1:]]

    def _dataset(self) -> Result:
        from kaon_jobs.programs import dataset as stage

        draw = random.Random(3)
        (self.root / "data").mkdir()
        for name, count in (("train", 96), ("test", 30)):
            texts = [(_text(draw, kind), kind) for kind in list(KINDS) * (count // 3)]
            lines = ["text,label", *(f"{text},{label}" for text, label in texts)]
            (self.root / "data" / f"{name}.csv").write_text("\n".join(lines) + "\n")
        work = {
            "stage": "dataset",
            "task": "text-classification",
            "sources": [
                {"uri": f"file:///mnt{self.root}/data/{name}.csv", "split": name} for name in ("train", "test")
            ],
            "format": "auto",
            "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
            "clean": {},
            "split": {"validation": 0.2},
        }
        job = self._job("datasets", work)
        given: Any = job.work
        return stage.run(job, given, self._context())

    def _context(self) -> Context:
        self._runs += 1
        workdir = self.root / f"work-{self._runs}"
        workdir.mkdir()
        return Context(Reporter(None, None), workdir, f"attempt-{self._runs}")

    def _reference(self, result: Result) -> dict[str, str]:
        assert result.artifact is not None
        return {"uri": result.artifact.uri, "digest": result.artifact.digest}

    def _job(self, plural: str, work: dict[str, Any]) -> JobSpec:
        digest = digest_of({"work": work, "run": self._runs})
        provenance = {"kind": plural, "namespace": "test", "name": "tiny", "uid": "0", "generation": 1}
        return JobSpec.model_validate(
            {
                "provenance": {**provenance, "kaonVersion": "0.0.0", "image": "none"},
                "inputDigest": digest,
                "declaration": digest,
                "output": {"uri": f"file:///mnt{self.root}/store/{plural}"},
                "work": work,
            }
        )


def check_parity_at_five_lengths(artifact: Path, texts: list[str]) -> None:
    """The exported model answers like the trained one at five lengths, the longest and an empty text among them."""
    model = AutoModelForSequenceClassification.from_pretrained(artifact).eval()
    exported = OnnxTextModel(artifact, threads=1)
    asked = [*spread_texts(exported.tokenizer, texts), *edge_texts(exported.tokenizer, texts), *texts[:5]]
    lengths = {len(encoding.ids) for encoding in map(exported.tokenizer.encode, asked)}
    assert len(lengths) >= 5 and max(lengths) == 64, lengths
    trained, served = answers_of_both(model, exported, asked)
    spread = float(np.ptp(trained, axis=0).max())
    allowed = min(PARITY_TOLERANCE, VISIBLE * spread)
    assert spread > 1e-6, "all texts get the same logits"
    assert np.abs(trained - served).max() <= allowed
    alone = exported.logits(asked, batch_size=1)
    assert np.abs(alone - served).max() <= allowed, "a text's logits depend on those beside it"


def check_served(folder: Path) -> None:
    """The laid-out code answers each recorded input as recorded, alone and in one batch, full length and empty too."""
    settings = json.loads((folder / "serving.json").read_text())
    golden = json.loads((folder.parents[2] / "golden.json").read_text())
    examples = golden["examples"]
    texts = [example["text"] for example in examples]
    classifier = _served(folder)
    assert "" in texts and settings["labels"]
    tokenizer = load_tokenizer(folder / settings["tokenizer"], settings["maxSequenceLength"])
    assert max(len(tokenizer.encode(text).ids) for text in texts) == settings["maxSequenceLength"]
    expected = np.asarray([example["answer"] for example in examples])
    together = classifier.answers(texts)
    alone = np.concatenate([classifier.answers([text]) for text in texts])
    np.testing.assert_allclose(together, expected, atol=1e-3)
    np.testing.assert_allclose(alone, expected, atol=1e-4)


def _served(folder: Path) -> Any:
    """The predictor as a server imports it: from beside the model."""
    sys.path.insert(0, str(folder))
    try:
        for name in ("predictor", "v2", "text"):
            sys.modules.pop(name, None)
        return importlib.import_module("predictor").Predictor(folder)
    finally:
        sys.path.remove(str(folder))


def _text(draw: random.Random, kind: str) -> str:
    words = draw.sample(KINDS[kind], 3) + draw.sample(FILLER, draw.randint(1, 8))
    draw.shuffle(words)
    return " ".join(words)
