"""Who takes part: Kaon's own stage, and each peer as a child process in the environment of its lock file."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from contract import RESULT_FILE, Case, Result, read_result, write_result
from environments import HERE, EnvironmentFailed, python_of


@dataclass(frozen=True, slots=True)
class Peer:
    """One file of peers/, and the lock file of its environment."""

    title: str
    module: str
    lock: str


PEERS: dict[str, Peer] = {
    "ort-dynamic": Peer("onnxruntime, dynamic INT8", "ort_dynamic", "peers/onnxruntime.lock"),
    "ort-static": Peer("onnxruntime, static INT8", "ort_static", "peers/onnxruntime.lock"),
    "olive": Peer("Olive, auto-opt", "olive_auto_opt", "peers/olive.lock"),
    "olive-search": Peer("Olive, search", "olive_search", "peers/olive.lock"),
    "inc-torch": Peer("INC 3 (PT2E, torch)", "inc_torch", "peers/inc-torch.lock"),
    "inc-onnx": Peer("INC (ONNX)", "inc_onnx", "peers/inc-onnx.lock"),
    "nncf-openvino": Peer("NNCF, on OpenVINO", "nncf_openvino", "peers/nncf.lock"),
    "nncf-onnx": Peer("NNCF, on onnxruntime", "nncf_onnx", "peers/nncf.lock"),
    "model2vec": Peer("Model2Vec", "model2vec_static", "peers/model2vec.lock"),
    "optimum": Peer("optimum", "optimum_dynamic", "peers/optimum.lock"),
}
LONGEST_SECONDS = 3600.0
"""Who is not done by then has no result."""


def run_peer(peer: Peer, case: Case, out: Path, cache: Path, seconds: float = LONGEST_SECONDS) -> Result:
    """What the peer made in `out`; its log lies there too. Whatever goes wrong is a Result as well."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    start = time.monotonic()
    try:
        failure = _run(peer, case, out, python_of(peer.lock, cache), seconds)
    except EnvironmentFailed as error:
        failure = f"does not install: {error}"
    if not (out / RESULT_FILE).exists():
        write_result(out, Result(round(time.monotonic() - start, 1), "", failure=failure))
    return read_result(out)


def child_environment(threads: int) -> dict[str, str]:
    """No hub, no GPU, no telemetry, and threads that wait instead of spinning."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OLIVE_DISABLE_TELEMETRY": "1",
        # What OpenVINO's and NNCF's telemetry looks at.
        "CI": "true",
    }


def _run(peer: Peer, case: Case, out: Path, python: Path, seconds: float) -> str:
    command = [str(python), "-m", f"peers.{peer.module}", str(case.folder), str(out)]
    with (out / "log").open("wb") as log:
        try:
            done = subprocess.run(
                command,
                cwd=HERE,
                env=child_environment(case.threads),
                stdout=log,
                stderr=log,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"not done after {seconds:.0f} s"
    lines = (out / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"ended with {done.returncode}: {lines[-1][:200] if lines else 'no word'}"
