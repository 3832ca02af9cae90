"""Kaon's own stages, run as a pod runs them: `kaon-job` as a child process, over a store that is a folder."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaon.api.report import Result
from kaon.contract.digest import digest_of
from kaon.contract.jobspec import InputArtifact, JobSpec
from kaon_jobs.context import Context
from kaon_jobs.programs.content import with_content
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.store.artifact import find


class StageFailed(Exception):
    """A stage ended badly; the message is its last word."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Artifacts in `store`, what the stages say in `log`. The claims folder of this process has to be `/`."""

    store: Path
    log: Path

    def run(self, plural: str, work: dict[str, Any]) -> Result:
        """The stage's Result; a finished artifact of the same work is reused, as in a cluster.

        Raises:
            StageFailed: the stage ended with another code than 0.
        """
        digest = digest_of(work)
        who = {"kind": plural, "namespace": "benchmark", "name": "benchmark", "uid": "0", "generation": 1}
        job = JobSpec.model_validate(
            {
                "provenance": {**who, "kaonVersion": "0", "image": "none"},
                "inputDigest": digest,
                "declaration": digest,
                "output": {"uri": uri(self.store / plural)},
                "work": work,
            }
        )
        with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
            addressed = with_content(job, Context(Reporter(None, None), Path(scratch), "none"))
        finished = find(addressed)
        if finished is None:
            self._start(job)
            finished = find(addressed)
        assert finished is not None, "a stage that ends well leaves an artifact"
        return finished.result(reused=False)

    def _start(self, job: JobSpec) -> None:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch, self.log.open("ab") as log:
            spec = Path(scratch) / "job.json"
            spec.write_text(json.dumps(job.wire()), encoding="utf-8")
            command = [sys.executable, "-m", "kaon_jobs.main", job.work.stage, "--spec", str(spec)]
            code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
        if code:
            last = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise StageFailed(f"{job.work.stage} ended with {code}: {' '.join(last)[:300]}")


def uri(path: Path) -> str:
    """A path of this machine as the stages address it."""
    return f"file:///mnt{path.resolve()}"


def artifact(result: Result) -> InputArtifact:
    """What a stage made, as the next one is told."""
    assert result.artifact is not None
    return InputArtifact(uri=result.artifact.uri, digest=result.artifact.digest)
