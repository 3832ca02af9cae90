"""What it costs a stage to sign what it makes and to verify what it reads: seconds beside the stage's own, in one run.

    python benchmarks/signing [--mebibytes 100] [--runs 3]

Runs the stages of a tiny model as a pod runs them and clocks the calls that sign, verify and hash. The stages of a real
model take much longer for the same calls. Then an artifact of the given size is found again, which reads and hashes
all of it. The store is a folder of this machine: over a network, reading takes longer and hashing does not.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "hack"), str(ROOT / "tests" / "fixtures")]

import tinymodel  # noqa: E402
from knownkeys import TRUST  # noqa: E402

from kaon.api.report import Result  # noqa: E402
from kaon.contract.attestation import attest  # noqa: E402
from kaon.contract.digest import digest_of  # noqa: E402
from kaon.contract.jobspec import JobSpec  # noqa: E402
from kaon.contract.signing import SigningKey  # noqa: E402
from kaon_jobs import main  # noqa: E402
from kaon_jobs.context import Context  # noqa: E402
from kaon_jobs.programs.content import with_content  # noqa: E402
from kaon_jobs.report.reporter import Reporter  # noqa: E402
from kaon_jobs.store import artifact, modelsigning, trust  # noqa: E402
from kaon_jobs.store import objectstore as store  # noqa: E402

WHO = {"namespace": "benchmark", "name": "tiny", "uid": "0", "generation": 1, "kaonVersion": "0", "image": "none"}


class Clock:
    """Seconds spent in the functions that it watches; calls within a watched call count once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0
        self._inside = False

    def watch(self, owner: Any, name: str) -> None:
        """Replaces a function by one that is clocked."""
        setattr(owner, name, self.clocked(getattr(owner, name)))

    def clocked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, clocked."""

        @functools.wraps(call)
        def clocked(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return call(*arguments, **named)
            self._inside, began = True, time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - began
                self.calls += 1
                self._inside = False

        return clocked


class Stages:
    """Stages over a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._runs = 0
        os.environ.update({"KAON_CLAIMS_DIR": "/", trust.TRUST_VARIABLE: str(root / "keys")})
        trust.write_keys(root / "keys", TRUST.key("benchmark"))
        tinymodel.write_model(root / "model")
        tinymodel.write_data(root / "data")

    def run(self, plural: str, work: dict[str, Any], token: int) -> tuple[JobSpec, Result]:
        """A stage's result, as its pod would tell it: signed."""
        digest = digest_of({"work": work, "token": token})
        told = {"provenance": {"kind": plural, **WHO}, "inputDigest": digest, "declaration": digest, "report": "r"}
        job = JobSpec.model_validate({**told, "output": {"uri": self.uri(f"store/benchmark/{plural}")}, "work": work})
        self._runs += 1
        folder = self._root / f"work-{self._runs}"
        folder.mkdir()
        context = Context(Reporter(None, None), folder, f"attempt-{self._runs}")
        job = with_content(job, context)
        result = main._finished(job, context) or main._work(job, context)
        assert result is not None
        attest(job, result.wire(), trust.signing_key())
        return job, result

    def uri(self, path: str) -> str:
        """A path below the folder as stages address it."""
        return f"file:///mnt{self._root}/{path}"

    def dataset(self) -> dict[str, Any]:
        """The work of the dataset stage."""
        sources = [{"uri": self.uri(f"data/{name}.csv"), "split": name} for name in ("train", "test")]
        schema = {"features": [{"name": "text"}], "label": {"name": "label"}}
        told = {"stage": "dataset", "task": "text-classification", "sources": sources, "format": "auto"}
        return {**told, "schema": schema, "clean": {}, "split": {"validation": 0.2}}

    def training(self, dataset: Result) -> dict[str, Any]:
        """The work of the train stage, with a checkpoint every 20 steps."""
        told = {"stage": "train", "task": "text-classification", "dataset": _read(dataset)}
        model = {"base": self.uri("model")}
        return {**told, "model": model, "recipe": tinymodel.TINY_RECIPE, "checkpoint": {"everySteps": 20}}

    def compression(self, model: Result, dataset: Result) -> dict[str, Any]:
        """The work of the compress stage: one step."""
        told = {
            "stage": "compress",
            "task": "text-classification",
            "model": _read(model),
            "dataset": _read(dataset),
            "objective": "size",
        }
        steps = [{"quantize": {"scheme": "int8-dynamic"}}]
        budget = {"maxDrop": {"accuracy": 0.5}}
        return {**told, "budget": budget, "strategy": "steps", "steps": steps, "search": {}, "target": {"threads": 1}}

    def evaluation(self, model: Result, dataset: Result) -> dict[str, Any]:
        """The work of the evaluate stage."""
        return {"stage": "evaluate", "model": _read(model), "dataset": _read(dataset), "threads": 1}


def _read(result: Result) -> dict[str, str]:
    assert result.artifact is not None
    return {"uri": result.artifact.uri, "digest": result.artifact.digest}


def measure(root: Path, runs: int) -> dict[str, list[tuple[float, float, int]]]:
    """Stage -> (seconds, seconds of these that signing, verifying and hashing took, calls) of each run."""
    clock = Clock()
    for owner, name in (
        (SigningKey, "sign"),
        (SigningKey, "signature"),
        (modelsigning, "sign"),
        (modelsigning, "verify"),
        (trust, "signing_key"),
        (trust, "trusted_keys"),
        (artifact, "signing_key"),
        (artifact, "trusted_keys"),
        (artifact, "_check_stored"),
        (artifact, "sha256_file"),
        (store, "sha256_file"),
    ):
        clock.watch(owner, name)
    stages = Stages(root)
    found: dict[str, list[tuple[float, float, int]]] = {}

    def timed(name: str, plural: str, work: dict[str, Any], token: int) -> Result:
        clock.seconds, clock.calls, began = 0.0, 0, time.perf_counter()
        _, result = stages.run(plural, work, token)
        found.setdefault(name, []).append((time.perf_counter() - began, clock.seconds, clock.calls))
        return result

    for run in range(runs):
        dataset = timed("dataset", "datasets", stages.dataset(), run)
        model = timed("train", "trainingruns", stages.training(dataset), run)
        timed("evaluate", "evaluations", stages.evaluation(model, dataset), run)
        timed("compress", "compressionjobs", stages.compression(model, dataset), run)
        timed("train, found again", "trainingruns", stages.training(dataset), run)
    return found


def finding(root: Path, mebibytes: int) -> tuple[float, float]:
    """Seconds to read an artifact of that size from the store, and to find it: read, hash, verify."""
    stages = Stages(root)
    work = stages.evaluation(*[Result.model_validate(_empty(name)) for name in ("model", "dataset")])
    told = {"provenance": {"kind": "evaluations", **WHO}, "inputDigest": "sha256:" + "0" * 64, "content": {}}
    told |= {"declaration": "sha256:" + "0" * 64, "output": {"uri": stages.uri("store/benchmark/evaluations")}}
    job = JobSpec.model_validate({**told, "work": work})
    made = root / "made"
    made.mkdir()
    (made / "large.bin").write_bytes(os.urandom(1 << 20) * mebibytes)
    times = {"start_time": "2026-01-01T00:00:00Z", "completion_time": "2026-01-01T00:00:00Z"}
    artifact.publish(job, made, kind="verdict", attempt="one", result=Result(**times))
    assert job.artifact is not None
    folder = store.open_store(job.artifact.uri, None)
    began = time.perf_counter()
    for _ in folder.stream("one/large.bin"):
        pass
    read = time.perf_counter() - began
    began = time.perf_counter()
    assert artifact.find(job) is not None
    return read, time.perf_counter() - began


def _empty(name: str) -> dict[str, Any]:
    digest = "sha256:" + "1" * 64
    made = {"uri": f"file:///mnt/{name}", "digest": digest, "sizeBytes": 1}
    return {"artifact": made, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:00Z"}


def run(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser("benchmarks/signing", description="What signing and verifying cost a stage.")
    parser.add_argument("--mebibytes", type=int, default=100, help="size of the artifact that is found again")
    parser.add_argument("--runs", type=int, default=3, help="of each stage")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        rows = measure(Path(folder), given.runs)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        read, found = finding(Path(folder), given.mebibytes)
    print(f"\n{'stage of a tiny model':24}{'whole':>10}{'signing, verifying, hashing':>30}{'share':>9}{'calls':>7}")
    for name, runs in rows.items():
        whole = statistics.median(run[0] for run in runs)
        signing = statistics.median(run[1] for run in runs)
        print(f"{name:24}{whole:8.2f} s{1000 * signing:27.1f} ms{signing / whole:9.2%}{runs[0][2]:7}")
    size = f"An artifact of {given.mebibytes} MiB"
    print(f"\n{size}: read in {read:.2f} s, found again (read, hashed, verified) in {found:.2f} s.")


if __name__ == "__main__":
    run()
