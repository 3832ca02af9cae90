"""Olive: its command `auto-opt` on the ONNX model, precision int8, for the CPU provider."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from contract import MODEL_FILE, Case, Made, NotPossible, main


def compress(case: Case, out: Path) -> Made:
    """Runs the command and takes its model."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "out"
        command = [sys.executable, "-m", "olive", "auto-opt", "--model_name_or_path", str(case.model)]
        command += ["--output_path", str(target), "--device", "cpu", "--provider", "CPUExecutionProvider"]
        command += ["--precision", "int8", "--log_level", "1", "--disable_telemetry"]
        done = subprocess.run(command, cwd=scratch, check=False)
        made = sorted(target.rglob("*.onnx"))
        if done.returncode or not made:
            raise NotPossible(f"olive auto-opt ended with {done.returncode} and {len(made)} models; its log says why")
        shutil.copyfile(made[0], out / MODEL_FILE)
    return Made("olive auto-opt --precision int8")


if __name__ == "__main__":
    main(compress, "olive-ai", "onnxruntime")
