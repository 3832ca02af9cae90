"""Size, latency and quality of three forms of one trained model, in one run: fp32, plain onnxruntime INT8, Kaon auto.

    python benchmarks/compression/bench.py --model URI DIGEST --dataset URI DIGEST [--rounds 300] [--threads 2]

The artifacts are those of a TrainingRun and of its Dataset (any store; file:///mnt/PATH is /PATH of this machine).
"Plain" is what onnxruntime's documentation tells first: quantize_dynamic with its defaults on the exported model.
Kaon's is the whole stage with `strategy: auto` and the budget of examples: 0.01 accuracy, 0.02 macro-F1. All three are
then timed in turns on the same texts, batch 1, tokenizer included, and asked the whole test split one by one.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from kaon.contract.digest import digest_of
from kaon.contract.jobspec import InputArtifact, JobSpec
from kaon_jobs.artifact import fetch
from kaon_jobs.compress import stage
from kaon_jobs.compress.judge import timed_texts
from kaon_jobs.compress.techniques.ort import quiet
from kaon_jobs.compress.timing import Timing, speedup
from kaon_jobs.compress.workbench import predictor
from kaon_jobs.context import Context
from kaon_jobs.data.splits import fetch_dataset, read_split
from kaon_jobs.evaluate.measure import serving_size
from kaon_jobs.evaluate.quality import quality
from kaon_jobs.evaluate.speed import instruction_sets
from kaon_jobs.onnx_text import MODEL_FILE, OnnxTextClassifier
from kaon_jobs.report import Reporter
from kaon_jobs.store import CLAIMS_VARIABLE

BUDGET = {"maxAccuracyDrop": 0.01, "maxMacroF1Drop": 0.02, "minSizeRatio": 3.5}


def main() -> None:
    """Prints the table, and as JSON below it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", nargs=2, required=True, metavar=("URI", "DIGEST"))
    parser.add_argument("--dataset", nargs=2, required=True, metavar=("URI", "DIGEST"))
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    os.environ[CLAIMS_VARIABLE] = "/"
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    with tempfile.TemporaryDirectory(prefix="bench-compression-") as scratch:
        rows = _bench(given, Path(scratch))
    print(
        f"{'model':<34}{'MB':>8}{'smaller':>9}{'p50 ms':>9}{'faster':>8}  95 % interval{'accuracy':>10}{'macro-F1':>10}"
    )
    for row in rows:
        interval = f"{row['low']:.2f} to {row['high']:.2f}"
        print(
            f"{row['model']:<34}{row['mb']:>8.1f}{row['smaller']:>9.2f}{row['p50']:>9.2f}{row['faster']:>8.2f}  "
            f"{interval:<13}{row['accuracy']:>10.4f}{row['macroF1']:>10.4f}"
        )
    print(json.dumps({"isa": instruction_sets(), "threads": given.threads, "rows": rows}))


def _bench(given: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    model = InputArtifact(uri=given.model[0], digest=given.model[1])
    dataset = InputArtifact(uri=given.dataset[0], digest=given.dataset[1])
    artifact = fetch(model, scratch / "fp32")
    fetch_dataset(dataset, scratch / "data", ("test",))
    test = read_split(scratch / "data", "test")
    assert artifact.manifest.model is not None
    files = artifact.manifest.model.serving_files

    folders = {
        "fp32": scratch / "fp32",
        "plain onnxruntime INT8 dynamic": _plain(scratch, files),
        "Kaon auto": _kaon(given, model, dataset, scratch),
    }
    models = {name: OnnxTextClassifier(folder, given.threads) for name, folder in folders.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for number, text in enumerate(timed_texts(test.texts, given.rounds)):
        order = list(models) if number % 2 == 0 else list(reversed(models))
        for name in order:
            start = time.perf_counter()
            predictor(models[name])(text)
            times[name].append((time.perf_counter() - start) * 1000)
    rows = []
    for name, classifier in models.items():
        found = quality(test.label_ids, classifier.probabilities(test.texts, batch_size=1), classifier.labels)
        interval = speedup(Timing(tuple(times["fp32"]), tuple(times[name])), seed=0)
        assert interval is not None, "too few rounds"
        size = serving_size(folders[name], files)
        rows.append(
            {
                "model": name,
                "mb": size / 1e6,
                "smaller": serving_size(folders["fp32"], files) / size,
                "p50": float(np.median(times[name])),
                "faster": interval.value,
                "low": interval.low,
                "high": interval.high,
                "accuracy": found.accuracy,
                "macroF1": found.macro_f1,
            }
        )
    return rows


def _plain(scratch: Path, files: list[str]) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]

    folder = scratch / "plain"
    folder.mkdir()
    for name in files:
        if name != MODEL_FILE:
            shutil.copyfile(scratch / "fp32" / name, folder / name)
    with quiet():
        quantize_dynamic(scratch / "fp32" / MODEL_FILE, folder / MODEL_FILE, weight_type=QuantType.QInt8)
    return folder


def _kaon(given: argparse.Namespace, model: InputArtifact, dataset: InputArtifact, scratch: Path) -> Path:
    work: dict[str, Any] = {
        "stage": "compress",
        "model": model.wire(),
        "dataset": dataset.wire(),
        "budget": BUDGET,
        "objective": "latency",
        "strategy": "auto",
        "search": {},
        "target": {"threads": given.threads},
    }
    digest = digest_of(work)
    who = {"kind": "CompressionJob", "namespace": "bench", "name": "bench", "uid": "0", "generation": 1}
    job = JobSpec.model_validate(
        {
            "provenance": {**who, "kaonVersion": "0", "image": "none"},
            "inputDigest": digest,
            "output": {"uri": f"file:///mnt{scratch}/store/{digest.removeprefix('sha256:')}"},
            "work": work,
        }
    )
    (scratch / "work").mkdir()
    start = time.monotonic()
    assert job.work.stage == "compress"
    result = stage.run(job, job.work, Context(Reporter(None, None), scratch / "work", "bench"))
    assert result.compression is not None
    logging.info("%s in %.0f s: %s", result.compression.verdict, time.monotonic() - start, result.compression.message)
    if result.artifact is None:
        raise SystemExit(result.compression.message)
    fetch(InputArtifact(uri=result.artifact.uri, digest=result.artifact.digest), scratch / "kaon")
    return scratch / "kaon"


if __name__ == "__main__":
    main()
