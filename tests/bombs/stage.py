"""Runs a stage as a pod does, in a process with a bound on its memory, and says how it ended and what it took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fixtures.provenance import PROVENANCE

from kaon.contract.jobspec import JobSpec

MIB = 1024**2
# The peak that the system tells of a child holds its parent's memory from before the child's own program began.
_LIMITED = """
import atexit, pathlib, re, resource, sys
limit, peak, *arguments = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: pathlib.Path(peak).write_text(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]))
from kaon_jobs.main import main
main(arguments)
"""


@dataclass(frozen=True)
class Ended:
    """How a stage ended."""

    code: int
    message: str
    """The termination message, which begins with the reason."""
    peak_bytes: int
    """Of resident memory."""
    seconds: float
    log: str


def run_stage(folder: Path, work: dict[str, Any], memory: int, **budgets: int) -> Ended:
    """Runs the stage of `work` with so many bytes of memory; its scratch space lies in `folder`."""
    job = {
        "provenance": PROVENANCE,
        "inputDigest": "sha256:" + "0" * 64,
        "declaration": "sha256:" + "0" * 64,
        "output": {"uri": f"file:///mnt{folder}/.store/x"},
        "work": work,
        **({"budgets": budgets} if budgets else {}),
    }
    spec, told, scratch = folder / ".spec.json", folder / ".told", folder / ".scratch"
    peak = folder / ".peak"
    told.touch()
    spec.write_text(JobSpec.model_validate(job).model_dump_json(by_alias=True, exclude_none=True))
    scratch.mkdir()
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(memory), str(peak), work["stage"], "--spec", str(spec)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "KAON_CLAIMS_DIR": "/",
            "KAON_TERMINATION_LOG": str(told),
            "TMPDIR": str(scratch),
            "OMP_NUM_THREADS": "1",
        },
    )
    resident = int(peak.read_text()) * 1024 if peak.exists() else 0
    return Ended(done.returncode, told.read_text(), resident, time.monotonic() - began, f"{done.stdout}{done.stderr}")


def dataset_work(folder: Path, *names: str, **changes: Any) -> dict[str, Any]:
    """The work of a Dataset over files of a folder."""
    return {
        "stage": "dataset",
        "task": "text-classification",
        "sources": [{"uri": f"file:///mnt{folder}/{name}"} for name in names],
        "format": "auto",
        "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
        "clean": {},
        "split": {},
        **changes,
    }


if __name__ == "__main__":
    directory = Path(sys.argv[1]).resolve().parent
    found = run_stage(directory, dataset_work(directory, Path(sys.argv[1]).name), int(sys.argv[2]) * MIB)
    print(json.dumps({**found.__dict__, "peak_bytes": found.peak_bytes // MIB}, indent=1))
