"""The fresh process whose peak memory is measured: predicts examples from standard input, prints VmHWM in bytes.

Run as `python -m kaon_jobs.measure.memory DIRECTORY THREADS`. Imports what a server would.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kaon_jobs.measure.examples import unpacked
from kaon_jobs.predict.opening import open_model


def high_water_mark() -> int:
    """Bytes of resident memory that this process has held at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not say VmHWM")


if __name__ == "__main__":
    model = open_model(Path(sys.argv[1]), int(sys.argv[2]))
    for example in unpacked(sys.stdin.buffer.read()):
        model.answers([example])
    print(high_water_mark())
