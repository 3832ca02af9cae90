"""One trial: the load generator and the observer as processes, from the first object until every run is complete."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simulation.load import write_objects
from simulation.observe import Watched
from simulation.programs import Program

GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Observed:
    """What the observer saw."""

    runs: dict[str, dict[str, float]]
    """By run: when each moment of simulation.observe was first seen."""
    jobs: int
    """How many Jobs there were."""
    failed: list[str]
    """Runs that were seen failed at some time."""


def trial(
    kubeconfig: Path,
    folder: Path,
    objects: Iterable[tuple[str, dict[str, Any]]],
    watched: Watched,
    expected: int,
    seconds: float,
) -> Observed:
    """Create objects, given with their collection paths, and observe until `expected` runs are complete.

    Raises:
        RuntimeError: an object was refused, or not all runs were complete in time.
    """
    load, out, log = folder / "objects", folder / "observed.json", folder / "trial.log"
    write_objects(load, objects)
    access = ["--kubeconfig", str(kubeconfig)]
    told = ["--watched", json.dumps(asdict(watched)), "--expected", str(expected), "--out", str(out)]
    with Program.python("simulation.observe", *access, *told, "--seconds", str(seconds), log=log) as observer:
        observer.expect("watching")
        with Program.python("simulation.load", *access, "--objects", str(load), log=log) as sender:
            try:
                observer.finish(seconds + GRACE_SECONDS)
                sender.finish(GRACE_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise RuntimeError(f"the trial hangs:\n{observer.tail()}") from error
    return Observed(**json.loads(out.read_text()))
