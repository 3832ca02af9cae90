"""A text classifier of a few numbers as an artifact in a file store, and servers of it, for the tests of serving."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from kaon.api.evaluation import Evaluation
from kaon.api.report import Result, TrainingResult
from kaon.api.signature import TEXT_SIGNATURE, Signature, TensorSpec
from kaon.contract.answers import COUNTER, series_labels
from kaon.contract.digest import canonical_json
from kaon.contract.jobspec import FetchWork, InputArtifact, JobSpec, Provenance
from kaon.contract.manifest import ArtifactFile, GoldenExample, Manifest, ModelCard
from kaon_jobs import runtime
from kaon_jobs.store.modelsigning import sign
from kaon_jobs.store.trust import signing_key

LABELS = ["acq", "earn", "trade"]
ODD_LABELS = ["", 'a "quote" \\ {{x}} 汉 \U0001f600', "two\nlines, a: b|c 100 %\u2028"]
"""Names that a line of metrics cannot hold as they are."""
WORDS = ["[PAD]", "[UNK]", "profit", "shares", "tariff", "the", "company", "dollar"]
MAX_LENGTH = 16
TEXTS = ["the company profit", "tariff dollar", "shares", "", " ".join(["dollar", "the"] * (MAX_LENGTH // 2))]
"""An empty one and one of full length among them."""
SIGNATURE = Signature(
    inputs=TEXT_SIGNATURE.inputs,
    outputs=[
        TensorSpec(name="label", datatype="BYTES", shape=[-1, 1]),
        TensorSpec(name="probabilities", datatype="FP32", shape=[-1, len(LABELS)]),
    ],
)
PROVENANCE = Provenance(kind="TrainingRun", namespace="t", name="t", uid="u", generation=1, kaon_version="0", image="i")
PROBE = "the probe"
MOMENT = "2026-01-01T00:00:00Z"


def write_model(folder: Path) -> None:
    """model.onnx (the sum of a vector for each word) and tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(0).normal(size=(len(WORDS), len(LABELS))).astype(np.float32) * 2
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.array([1]), "words"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["vectors", "wide"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "words"], ["logits"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )


def expected(folder: Path, labels: list[str] = LABELS) -> list[GoldenExample]:
    """The answers, computed by numpy alone."""
    table = numpy_helper.to_array(onnx.load(folder / "model.onnx").graph.initializer[0])
    found = []
    for text in TEXTS:
        # An empty text is read as one padding token.
        logits = table[[WORDS.index(word) for word in text.split() or ["[PAD]"]]].sum(axis=0)
        probabilities = np.exp(logits) / np.exp(logits).sum()
        label = labels[int(probabilities.argmax())]
        found.append(GoldenExample(text=text, label=label, answer=probabilities.tolist()))
    return found


def card(folder: Path, *, golden: bool = True, labels: list[str] = LABELS) -> ModelCard:
    """The card of the model in `folder`."""
    return ModelCard(
        task="text-classification",
        labels=labels,
        max_sequence_length=MAX_LENGTH,
        signature=SIGNATURE,
        serving_files=["model.onnx", "tokenizer.json"],
        golden=expected(folder, labels) if golden else [],
    )


def settings_of(found: ModelCard, max_batch_size: int) -> dict[str, Any]:
    """serving.json of a model, as the layout writes it."""
    return {
        "reads": found.reads,
        "labels": found.labels,
        **found.served_signature.wire(),
        "maxBatchSize": max_batch_size,
        "threads": 1,
        "model": "model.onnx",
        "counter": COUNTER,
        "counted": series_labels(found.labels, []),
        "probe": PROBE,
        "tokenizer": "tokenizer.json",
        "maxSequenceLength": found.max_sequence_length,
        "columns": [column.wire() for column in found.columns or []],
        **({"image": found.image.wire()} if found.image is not None else {}),
        **({} if found.ranks is None else {"ranks": found.ranks, "items": "items.json", "users": "users.npz"}),
    }


def siblings(name: str) -> Any:
    """A module that is copied beside a model, as a server imports it: its siblings are modules of their own."""
    folder = str(Path(runtime.__path__[0]))
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def publish(
    root: Path,
    *,
    golden: bool = True,
    change: Callable[[onnx.ModelProto], None] | None = None,
    write: Callable[[Path], None] = write_model,
    described: Callable[..., ModelCard] = card,
    evaluation: Evaluation | None = None,
) -> InputArtifact:
    """An artifact as a training run leaves it; `change` makes another model of its own.

    evaluation: of the model, none by default.
    write, described: what puts a model into a folder, and what makes its card.
    """
    store = root / ("1" * 64)
    write(store / "attempt-1")
    own = described(store / "attempt-1", golden=golden)
    if change is not None:
        model = onnx.load(store / "attempt-1" / "model.onnx")
        change(model)
        (store / "attempt-1" / "model.onnx").write_bytes(model.SerializeToString())
    files = [
        ArtifactFile(
            path=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size_bytes=path.stat().st_size
        )
        for path in sorted((store / "attempt-1").iterdir())
    ]
    manifest = Manifest(
        kind="model",
        address="sha256:" + "1" * 64,
        attempt="attempt-1",
        files=files,
        provenance=PROVENANCE,
        model=own,
        result=Result(
            start_time=MOMENT,
            completion_time=MOMENT,
            training=TrainingResult(dataset_digest=f"sha256:{'2' * 64}", evaluation=evaluation) if evaluation else None,
        ),
    )
    data = canonical_json(manifest.wire())
    (store / "kaon.json").write_bytes(data)
    (store / "attempt-1" / "kaon.sig").write_bytes(sign(manifest, data, signing_key()))
    return InputArtifact(uri=f"file:///mnt{store}", digest=f"sha256:{hashlib.sha256(data).hexdigest()}")


def job(source: InputArtifact, target: Path, server: str) -> JobSpec:
    """The JobSpec of a server's init container."""
    told = {
        "stage": "fetch",
        "model": source.wire(),
        "kind": "model",
        "server": server,
        "modelName": "m",
        "targetDir": str(target),
    }
    work = FetchWork.model_validate({**told, "threads": 1, "maxBatchSize": 4, "maxDelayMs": 1.5})
    return JobSpec(provenance=PROVENANCE, input_digest=source.digest, work=work)


def golden_of(target: Path) -> dict[str, Any]:
    """golden.json as it was laid out."""
    found: dict[str, Any] = json.loads((target / "golden.json").read_text())
    return found
