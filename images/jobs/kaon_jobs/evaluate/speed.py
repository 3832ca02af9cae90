"""Speed and memory of an exported model on this machine: latency, throughput, peak memory, instruction sets."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kaon.api.evaluation import Latency
from kaon_jobs.errors import StageFailure
from kaon_jobs.onnx_text import OnnxTextClassifier

WARM_UP = 10
LATENCY_TEXTS = 200
MEMORY_TEXTS = 64

# In the order in which they matter to a quantised model.
_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx_vnni": "AVX_VNNI",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX_INT8",
    "asimd": "NEON",
    "asimddp": "DOTPROD",
    "i8mm": "I8MM",
    "sve": "SVE",
}


def latency(classifier: OnnxTextClassifier, texts: Sequence[str]) -> Latency:
    """Milliseconds of one text from string to scores, tokenizer included, over real texts."""
    for text in texts[:WARM_UP]:
        classifier.run(classifier.encode([text]))
    seconds = []
    for text in texts[:LATENCY_TEXTS]:
        start = time.perf_counter()
        classifier.run(classifier.encode([text]))
        seconds.append(time.perf_counter() - start)
    p50, p99 = np.percentile(np.asarray(seconds) * 1000, [50, 99])
    return Latency(p50=round(float(p50), 3), p99=round(float(p99), 3))


def peak_memory(directory: Path, texts: Sequence[str], threads: int) -> int:
    """Bytes that a fresh process has held at most after predicting: interpreter, runtime, model and work space.

    Raises:
        StageFailure: the process died, e.g. killed for memory.
    """
    child = subprocess.run(
        [sys.executable, "-m", "kaon_jobs.evaluate.memory", str(directory), str(threads)],
        input="\0".join(texts[:MEMORY_TEXTS]),
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode != 0:
        tail = child.stderr.strip().splitlines()[-1:] or ["no message"]
        raise StageFailure(
            "MemoryMeasurementFailed",
            f"a fresh process could not run the model (exit {child.returncode}): {tail[0]}",
            retriable=True,
        )
    return int(child.stdout.split()[-1])


def instruction_sets(cpuinfo: str | None = None) -> str:
    """The vector instruction sets of this processor that inference kernels use, e.g. `AVX2 AVX512 AVX512_VNNI`."""
    text = Path("/proc/cpuinfo").read_text() if cpuinfo is None else cpuinfo
    flags: set[str] = set()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            flags.update(value.split())
            break
    return " ".join(name for flag, name in _SETS.items() if flag in flags) or "generic"
