"""The clean process in which a compressed model proves that its files alone give the same answers.

Run as `python -m kaon_jobs.compress.trials.reload DIRECTORY THREADS`: examples come on standard input, their
answers go to standard output as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kaon_jobs.errors import StageFailure
from kaon_jobs.measure.examples import packed, unpacked
from kaon_jobs.predict.onnx_model import Floats
from kaon_jobs.predict.opening import open_model

TOLERANCE = 1e-4
"""Of a probability; of larger answers, of the largest."""


def check_reload(
    directory: Path, examples: Sequence[Any], expected: Floats, threads: int, what: str = "a probability"
) -> None:
    """Asks a new process the same examples, one by one.

    Args:
        expected: the answers [examples, figures].
        what: one figure of an answer, in words.

    Raises:
        StageFailure: ReloadFailed, when it dies or answers otherwise.
    """
    child = subprocess.run(
        [sys.executable, "-m", "kaon_jobs.compress.trials.reload", str(directory), str(threads)],
        input=packed(examples),
        capture_output=True,
        check=False,
    )
    if child.returncode != 0:
        tail = child.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise StageFailure(
            "ReloadFailed",
            f"a clean process could not load the compressed model (exit {child.returncode}): {tail[0]}",
            retriable=True,
        )
    answered = np.asarray(json.loads(child.stdout.splitlines()[-1]), dtype=np.float32)
    difference = float(np.abs(answered - expected).max()) if answered.shape == expected.shape else float("inf")
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= allowed:
        raise StageFailure(
            "ReloadFailed",
            f"a clean process gets other answers from the compressed model: {what} differs by {difference:.3g}, "
            f"allowed is {allowed:.3g}",
        )


if __name__ == "__main__":
    model = open_model(Path(sys.argv[1]), int(sys.argv[2]))
    given = unpacked(sys.stdin.buffer.read())
    print(json.dumps([model.answers([example])[0].tolist() for example in given]))
