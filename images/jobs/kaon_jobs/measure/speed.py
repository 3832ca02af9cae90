"""Speed and memory of an exported model on this machine: latency, throughput, peak memory, instruction sets."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kaon.api.evaluation import Latency
from kaon_jobs.errors import StageFailure
from kaon_jobs.measure.examples import packed
from kaon_jobs.predict.onnx_model import OnnxModel

WARM_UP = 10
LATENCY_EXAMPLES = 200
MEMORY_EXAMPLES = 64

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


def latency(classifier: OnnxModel, examples: Sequence[Any]) -> Latency:
    """Milliseconds of one example from what a client sends to scores, tokenizer included, over real ones."""
    for example in examples[:WARM_UP]:
        classifier.run(classifier.encode([example]))
    seconds = []
    for example in examples[:LATENCY_EXAMPLES]:
        start = time.perf_counter()
        classifier.run(classifier.encode([example]))
        seconds.append(time.perf_counter() - start)
    p50, p99 = np.percentile(np.asarray(seconds) * 1000, [50, 99])
    return Latency(p50=round(float(p50), 3), p99=round(float(p99), 3))


def peak_memory(directory: Path, examples: Sequence[Any], threads: int) -> int:
    """Bytes that a fresh process has held at most after predicting: interpreter, runtime, model and work space.

    Raises:
        StageFailure: the process died, e.g. killed for memory.
    """
    child = subprocess.run(
        [sys.executable, "-m", "kaon_jobs.measure.memory", str(directory), str(threads)],
        input=packed(examples[:MEMORY_EXAMPLES]),
        capture_output=True,
        check=False,
    )
    if child.returncode != 0:
        tail = child.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
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
