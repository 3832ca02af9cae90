"""Measures what the chosen pipeline's first steps make, where the search did not: so that each step has its figures.

Drives the workbench; a prefix that an earlier attempt or the search has measured is not measured again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from kaon.api.compressionjob import Step
from kaon_jobs.compress.search.moves import Pipeline
from kaon_jobs.compress.trials.explore import Explored
from kaon_jobs.compress.trials.workbench import Workbench
from kaon_jobs.compress.verdict.figures import Measured

log = logging.getLogger(__name__)


def measured_prefixes(
    bench: Workbench, steps: list[Step], explored: Explored, progress: Callable[[str], None]
) -> dict[int, Measured]:
    """Figures on the validation split after the first 1, 2, … steps; one that cannot be made alone is absent."""
    found: dict[int, Measured] = {}
    for length in range(1, len(steps) + 1):
        pipeline = Pipeline(tuple(steps[:length]))
        record = explored.records.get(pipeline) or bench.find(pipeline)
        if record is None:
            progress(pipeline.name)
            bench.data.progress = lambda phase, share: None
            record, _ = bench.run(pipeline)
        if record.failure is not None:
            log.info("%s is not measured alone: %s", pipeline.name, record.failure)
            continue
        found[length] = bench.measured(record)
    return found
