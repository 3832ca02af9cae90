"""How a verified model is laid out for a server: a Triton model repository, or a TorchServe model store. Touches files.

A laid-out model is complete: the code that predicts lies beside the weights, and golden.json says how to try it.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Collection
from importlib import resources
from pathlib import Path
from typing import Any

from kaon.api.signature import TensorSpec
from kaon.contract.answers import COUNTER, series_labels
from kaon.contract.jobspec import FetchWork
from kaon.contract.manifest import GoldenExample, ModelCard
from kaon_jobs.errors import StageFailure
from kaon_jobs.predict.onnx_external import check_external_data

GOLDEN = "golden.json"
METRICS = "metrics.yaml"
VERSION = "1"
TRITON_TYPES = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32", "FP64": "TYPE_FP64"}
RESPONSE_TIMEOUT_SECONDS = 600
"""The router's timeout is the one that users set; a server never gives up before it."""

LARGEST_BODY_BYTES = 104_857_600
"""The most that a route may be set to; the router refuses what is larger than the user's own bound."""


def _metrics(unit: str, dimensions: list[str], *names: str) -> list[dict[str, Any]]:
    return [{"name": name, "unit": unit, "dimensions": dimensions} for name in names]


TORCHSERVE_METRICS = {
    "ts_metrics": {
        "counter": [
            *_metrics("Count", ["Level", "Hostname"], "Requests2XX", "Requests4XX", "Requests5XX"),
            *_metrics("Count", ["model_name", "model_version", "hostname"], "ts_inference_requests_total"),
            *_metrics(
                "Microseconds",
                ["model_name", "model_version", "hostname"],
                "ts_inference_latency_microseconds",
                "ts_queue_latency_microseconds",
            ),
        ],
        "gauge": [
            *_metrics("Milliseconds", ["Level", "Hostname"], "QueueTime", "WorkerThreadTime"),
            *_metrics("Milliseconds", ["WorkerName", "Level", "Hostname"], "WorkerLoadTime"),
        ],
    },
    "model_metrics": {
        "counter": _metrics("Count", ["model", "label"], COUNTER),
        "gauge": _metrics("ms", ["ModelName", "Level"], "HandlerTime", "PredictionTime"),
    },
}
"""What TorchServe tells, since a file of our own replaces the one that it comes with: the same but for the machine's
figures, which are switched off, and the counter of answers. To a model's metrics it adds Hostname."""


def lay_out(work: FetchWork, card: ModelCard, files: Path, target: Path, counted: Collection[str] = ()) -> None:
    """Move the serving files below `target`, in the form that the server of `work` reads.

    counted: classes whose answers are counted each by itself; empty for the first ones of the card.
    """
    # Whoever knows this id is not counted: it is another one in each pod, and no client is told.
    probe = secrets.token_hex(16)
    counting = {"counter": COUNTER, "counted": series_labels(card.labels, counted), "probe": probe}
    lays_out = {"triton": _triton, "torchserve": _torchserve}[work.server]
    url = lays_out(work, card, files, target, counting)
    _golden(card, target, url, probe)


def _triton(work: FetchWork, card: ModelCard, files: Path, target: Path, counting: dict[str, Any]) -> str:
    model = target / "repository" / work.model_name
    version = model / VERSION
    version.mkdir(parents=True)
    _runtime(version, card, {"triton_model.py": "model.py"})
    _weights(work, card, files, version, counting)
    (model / "config.pbtxt").write_text(_triton_config(work, card), encoding="utf-8")
    return f"http://127.0.0.1:8000/v2/models/{work.model_name}/infer"


def _triton_config(work: FetchWork, card: ModelCard) -> str:
    signature = card.served_signature
    return "\n".join(
        [
            f"name: {_quoted(work.model_name)}",
            'backend: "python"',
            f"max_batch_size: {work.max_batch_size}",
            *(f"input {_triton_tensor(tensor)}" for tensor in signature.inputs),
            *(f"output {_triton_tensor(tensor)}" for tensor in signature.outputs),
            # One instance with `threads` threads: two would only take the processor from each other.
            "instance_group [ { count: 1 kind: KIND_CPU } ]",
            f"dynamic_batching {{ max_queue_delay_microseconds: {round(work.max_delay_ms * 1000)} }}",
            "",
        ]
    )


def _triton_tensor(tensor: TensorSpec) -> str:
    # The batch, the first of the shape, is Triton's own.
    dims = ", ".join(map(str, tensor.shape[1:]))
    optional = " optional: true" if tensor.optional else ""
    # Requests whose rows have different numbers of values may be in one batch: each keeps its own tensor.
    ragged = " allow_ragged_batch: true" if tensor.varies else ""
    named = f"name: {_quoted(tensor.name)} data_type: {TRITON_TYPES[tensor.datatype]}"
    return f"{{ {named} dims: [ {dims} ]{optional}{ragged} }}"


def _quoted(text: str) -> str:
    """A string of protobuf's text format. A string of JSON is one, unless it has escapes of surrogates."""
    return json.dumps(text, ensure_ascii=False)


def _torchserve(work: FetchWork, card: ModelCard, files: Path, target: Path, counting: dict[str, Any]) -> str:
    # TorchServe serves an unpacked archive as it is; zipping it would only make the server unzip it again.
    store = target / "store"
    archive = store / work.model_name
    (archive / "MAR-INF").mkdir(parents=True)
    _runtime(archive, card, {"torchserve_handler.py": "torchserve_handler.py"})
    _weights(work, card, files, archive, counting)
    model = {"modelName": work.model_name, "modelVersion": "1.0", "handler": "torchserve_handler.py"}
    manifest = {"createdOn": "", "runtime": "python", "archiverVersion": "1", "model": model}
    (archive / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
    # JSON is YAML.
    (target / METRICS).write_text(json.dumps(TORCHSERVE_METRICS), encoding="utf-8")
    (target / "config.properties").write_text(_torchserve_config(work, store, target / METRICS), encoding="utf-8")
    return f"http://127.0.0.1:8080/v2/models/{work.model_name}/infer"


def _torchserve_config(work: FetchWork, store: Path, metrics: Path) -> str:
    settings: dict[str, Any] = {
        "inference_address": "http://0.0.0.0:8080",
        # Whoever reaches the management port can load code; only the probe inside the container does.
        "management_address": "http://127.0.0.1:8081",
        "metrics_address": "http://0.0.0.0:8082",
        "disable_token_authorization": "true",
        "metrics_mode": "prometheus",
        "metrics_config": metrics,
        "disable_system_metrics": "true",
        "enable_envvars_config": "false",
        "enable_model_api": "false",
        # The handler reads the JSON itself: TorchServe's reader takes NaN, and the last of two fields of one name.
        "decode_input_request": "false",
        "allowed_urls": f"file://{store}/.*",
        "max_request_size": LARGEST_BODY_BYTES,
        "max_response_size": LARGEST_BODY_BYTES,
        "model_store": store,
        "load_models": work.model_name,
        "default_response_timeout": RESPONSE_TIMEOUT_SECONDS,
        "default_workers_per_model": 1,
        "models": json.dumps(
            {
                work.model_name: {
                    "1.0": {
                        "defaultVersion": True,
                        "marName": work.model_name,
                        "minWorkers": 1,
                        "maxWorkers": 1,
                        "batchSize": work.max_batch_size,
                        "maxBatchDelay": max(1, round(work.max_delay_ms)),
                        "responseTimeout": RESPONSE_TIMEOUT_SECONDS,
                    }
                }
            }
        ),
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _runtime(folder: Path, card: ModelCard, names: dict[str, str]) -> None:
    runtime = resources.files("kaon_jobs.runtime")
    reader = f"{card.reads}.py"
    names = {**{name: name for name in ("predictor.py", "graph.py", "v2.py", reader)}, **names}
    for source, name in names.items():
        (folder / name).write_bytes(runtime.joinpath(source).read_bytes())


def _weights(work: FetchWork, card: ModelCard, files: Path, folder: Path, counting: dict[str, Any]) -> None:
    for name in card.serving_files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(files / name, folder / name)
    model = _one(card, ".onnx")
    check_external_data(folder / model)
    settings = {
        "reads": card.reads,
        "labels": card.labels,
        **card.served_signature.wire(),
        "maxBatchSize": work.max_batch_size,
        "threads": work.threads,
        "model": model,
        **counting,
        **_reading(card),
    }
    (folder / "serving.json").write_text(json.dumps(settings), encoding="utf-8")


def _reading(card: ModelCard) -> dict[str, Any]:
    """What the reader of texts, tables, histories or images is told."""
    if card.image is not None:
        return {"image": card.image.wire()}
    if card.ranks is not None:
        files = {"items": _one(card, "items.json"), "users": _one(card, "users.npz")}
        return {"maxSequenceLength": card.max_sequence_length, "ranks": card.ranks, **files}
    if card.columns is not None:
        return {"columns": [column.wire() for column in card.columns]}
    return {"maxSequenceLength": card.max_sequence_length, "tokenizer": _one(card, "tokenizer.json")}


def _one(card: ModelCard, ending: str) -> str:
    found = [name for name in card.serving_files if name.endswith(ending)]
    if len(found) != 1:
        raise StageFailure(
            "ArtifactNotServable",
            f"a server needs exactly one file *{ending}; the artifact has {', '.join(card.serving_files)}",
        )
    return found[0]


def _can_be_sent(example: GoldenExample, card: ModelCard) -> bool:
    """Not of a table of numbers alone the row of which all are missing: a request has one input at least."""
    if example.row is None:
        return True
    if card.ranks is not None:
        return True
    return any(column.type != "number" for column in card.columns or []) or any(
        value is not None for value in example.row
    )


def _golden(card: ModelCard, target: Path, url: str, probe: str) -> None:
    golden = {
        "url": url,
        "id": probe,
        "tolerance": card.golden_tolerance,
        "labels": card.labels,
        "inputs": card.served_signature.wire()["inputs"],
        "examples": [example.wire() for example in card.golden if _can_be_sent(example, card)],
    }
    (target / GOLDEN).write_text(json.dumps(golden), encoding="utf-8")
