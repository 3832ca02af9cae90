"""kaon-job: runs one stage of one resource, as its JobSpec says, and ends with an exit code that Kubernetes acts on.

A finished artifact of the same input is reported again before anything heavy is imported. Exit codes: 0 done, 64 wrong
input (no retry helps), 143 stopped by SIGTERM (tried again without counting), 1 anything else (retried).
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from kaon.api.report import Result, StageError
from kaon.api.text import told
from kaon.contract.attestation import attest
from kaon.contract.budgets import Budgets
from kaon.contract.jobspec import (
    EXIT_TERMINATED,
    EXIT_WRONG_INPUT,
    WORK_DIR,
    CompressWork,
    DatasetWork,
    EvaluateWork,
    FetchWork,
    JobSpec,
    TrainWork,
)
from kaon_jobs.context import Context, attempt_id, now
from kaon_jobs.errors import StageFailure, Terminated, is_panic
from kaon_jobs.programs.content import with_content
from kaon_jobs.report.apiserver import ApiServer, in_cluster
from kaon_jobs.report.reporter import IDLE_STOPS, Reporter, ResultNotDelivered, write_termination_message
from kaon_jobs.report.told import Source, Told, load_spec
from kaon_jobs.store import artifact
from kaon_jobs.store.trust import signing_key

log = logging.getLogger("kaon-job")

STAGES = ("dataset", "train", "evaluate", "compress", "fetch")


def main(arguments: list[str] | None = None) -> None:
    """The command. Ends the process."""
    parser = argparse.ArgumentParser(prog="kaon-job", description="Runs one stage of a Kaon resource.")
    parser.add_argument("stage", choices=STAGES)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--report", metavar="NAME", help="Report with the JobSpec, in the pod's namespace")
    source.add_argument("--spec", metavar="FILE", type=Path, help="file with the JobSpec")
    given = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    # Nothing is ever looked up on a hub: what a stage reads is named in its spec, and verified.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    # Threads that spin while they wait burn what a limited or shared processor has; measured on two busy cores, a
    # training step takes a third of the time without. Read when the OpenMP library is loaded, so it is set here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(given.stage, Source(given.spec, given.report)))


def run(stage: str, source: Source) -> int:
    """Runs a stage and returns the exit code."""
    server = in_cluster()
    _listen(_stop)
    try:
        return _run(load_spec(stage, source, server), server)
    except Terminated:
        return EXIT_TERMINATED
    except StageFailure as failure:
        # Without a JobSpec nothing is told in a Report; the termination message reaches the operator all the same.
        return _failed(None, failure)


def _run(told: Told, server: ApiServer | None) -> int:
    job, pod = told.job, os.environ.get("POD_NAME") or os.environ.get("HOSTNAME")
    reporter = Reporter(job.report, server, pod, told.report)
    base = Path(WORK_DIR) if os.access(WORK_DIR, os.W_OK) else None
    if "TMPDIR" in os.environ:
        # In a pod it lies in an emptyDir, which starts empty; the root is read-only.
        Path(os.environ["TMPDIR"]).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kaon-", dir=base) as workdir:
        context = Context(reporter, Path(workdir), attempt_id(), budgets=job.budgets or Budgets())
        _listen(context.on_sigterm)
        try:
            if not reporter.start(context.start_time):
                return 0
            job = with_content(job, context)
            result = _finished(job, context) or _work(job, context)
            if result is not None:
                result = result.reported()
                reporter.result(result, attest(job, result.wire(), signing_key()))
            reporter.close()
            return 0
        except Terminated:
            return _stopped(reporter)
        except StageFailure as failure:
            return _failed(reporter, failure)
        except ResultNotDelivered as error:
            write_termination_message(str(error))
            return 1
        except MemoryError:
            log.error("%s", traceback.format_exc())
            message = "the stage ran out of memory; raise its memory limit"
            return _failed(reporter, StageFailure("OutOfMemory", message, retriable=True))
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            log.error("%s", traceback.format_exc())
            message = f"an error that Kaon does not expect: {_place(error)}; the traceback is in the pod's log"
            return _failed(reporter, StageFailure("InternalError", message, retriable=True))


def _place(error: BaseException) -> str:
    """The class and the place of an error. What it says may hold somebody's data: a label as the key of a KeyError."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "kaon_jobs" in frame.filename]
    where = f" in {Path(own[-1].filename).name} line {own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{where}"


def _finished(job: JobSpec, context: Context) -> Result | None:
    if job.output is None or job.work.stage == "fetch":
        return None
    found = artifact.find(job)
    if found is None:
        return None
    log.info("%s holds the finished artifact of this input already", found.uri)
    # What the artifact once cost stands in its manifest; this stage took a moment, and is counted as that.
    own = {"cost": context.cost(), "start_time": context.start_time, "completion_time": now()}
    return found.result(reused=True).model_copy(update=own)


def _work(job: JobSpec, context: Context) -> Result | None:
    # Imported here and not above: each of these loads libraries for seconds.
    match job.work:
        case DatasetWork() as work:
            from kaon_jobs.programs import dataset

            return dataset.run(job, work, context)
        case TrainWork() as work:
            from kaon_jobs.programs import train

            return train.run(job, work, context)
        case EvaluateWork() as work:
            from kaon_jobs.programs import evaluate

            return evaluate.run(job, work, context)
        case CompressWork() as work:
            from kaon_jobs.programs import compress

            return compress.run(job, work, context)
        case FetchWork() as work:
            from kaon_jobs.programs import fetch

            fetch.run(job, work, context)
            return None


def _listen(on_stop: Callable[[], None]) -> None:
    def on_signal(number: int, frame: FrameType | None) -> None:
        on_stop()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def _stop() -> None:
    raise Terminated


def _stopped(reporter: Reporter) -> int:
    """Told to stop: no failure, unless every attempt is stopped before it gets anywhere."""
    log.info("stopped by SIGTERM")
    idle = reporter.stopped()
    if idle <= IDLE_STOPS:
        return EXIT_TERMINATED
    message = (
        f"{idle} attempts in a row were told to stop before they reached a checkpoint; at most {IDLE_STOPS} may be. "
        "Find out what deletes the pods, e.g. with `kubectl get events`."
    )
    return _failed(reporter, StageFailure("Interrupted", message, retriable=True))


def _failed(reporter: Reporter | None, failure: StageFailure) -> int:
    message = told(failure.message)
    log.error("%s: %s", failure.reason, message)
    write_termination_message(f"{failure.reason}: {message}")
    if reporter is not None:
        reporter.error(StageError(reason=failure.reason, message=message, retriable=failure.retriable, time=now()))
    return 1 if failure.retriable else EXIT_WRONG_INPUT


if __name__ == "__main__":
    main()
