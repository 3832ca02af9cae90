"""Reporter: tells the resource how far its stage is, by merge patches of Report.status; the log hears it too.

A thread of its own sends, so that work never waits for the API server: at most one patch in five seconds, phase
changes and checkpoints within one. Progress that cannot be sent is dropped; the end of a stage is retried for minutes.
A result is written once: the result of another attempt stands, and the attempt that finds it has nothing left to do.
Without a cluster it only prints. Touches the API server through the pod's service account, and standard output.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from kaon.api.common import Checkpoint, Progress
from kaon.api.report import Result, StageError
from kaon.api.types import LARGEST
from kaon_jobs.report.apiserver import ApiServer, ApiServerError, patiently

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0
URGENT_SECONDS = 1.0
"""Between a phase change and the patch before it: a stage that ends within a second costs one patch."""
RESULT_PATIENCE_SECONDS = 600.0
ERROR_PATIENCE_SECONDS = 60.0
IDLE_STOPS = 10
"""So many attempts in a row may be told to stop before they reach a checkpoint. Each more is a failed attempt."""


class ResultNotDelivered(Exception):
    """The work is done and stored, but nobody could be told; the next attempt finds it finished and tells."""


class Reporter:
    """Says how it is going. One a process; safe to call from any thread."""

    def __init__(
        self,
        report: str | None,
        server: ApiServer | None,
        pod: str | None = None,
        found: dict[str, Any] | None = None,
    ) -> None:
        """found: the Report as it was read a moment ago, so that it is not read again."""
        self._report = report
        self._server = server if report is not None else None
        self._lock = threading.Condition()
        self._pending: dict[str, Any] = {}
        self._urgent = False
        self._closed = False
        self._phase: str | None = None
        self._sent_metrics: frozenset[str] = frozenset()
        self._printed = -INTERVAL_SECONDS
        self._thread: threading.Thread | None = None
        self._pod = pod
        self._version: str | None = None
        """The Report's version in the last answer; None: unknown."""
        self._told: dict[str, Any] = {}
        """The Report's status in the last answer."""
        self._progressed = False
        """Whether this attempt has got further than the ones before: it has a newer checkpoint."""
        if found is not None:
            self._take(found)

    def start(self, start_time: str) -> bool:
        """The attempt begins, and the error of an earlier one is taken back.

        Returns False when the Report has a result already: an earlier attempt's, which stands.
        """
        if self._server is None:
            return True
        if self._version is None:
            try:
                self._send({})
            except ApiServerError as error:
                # The work is not held up by it: a result that is there is found again before another is written.
                log.warning("the Report %s cannot be read: %s", self._report, error)
        if self._told.get("result"):
            log.info("the Report %s has its result already; it stands", self._report)
            return False
        attempt = int(self._told.get("attempt") or 0) + (self._told.get("pod") != self._pod)
        self._merge({"pod": self._pod, "attempt": attempt, "startTime": start_time, "error": None}, urgent=True)
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()
        return True

    def progress(
        self,
        phase: str,
        percent: float | None = None,
        *,
        step: int | None = None,
        total_steps: int | None = None,
        eta_seconds: float | None = None,
        metrics: dict[str, float] | None = None,
    ) -> None:
        """How far the stage is. `percent` is of the whole stage, `phase` names what is being done."""
        figures = {name: float(value) for name, value in (metrics or {}).items() if _is_figure(value)}
        progress = Progress(
            phase=phase[:128],
            percent=None if percent is None else round(min(max(percent, 0.0), 100.0), 1),
            step=step,
            total_steps=total_steps,
            eta_seconds=round(eta_seconds) if eta_seconds is not None and _is_figure(eta_seconds) else None,
            metrics=dict(list(figures.items())[:32]),
        )
        changed = phase != self._phase
        self._phase = phase
        self._print(progress, changed)
        if self._server is not None:
            # A merge patch keeps what it does not mention: a figure that has become unknown is taken back by null.
            gone = dict.fromkeys(self._sent_metrics - figures.keys())
            self._sent_metrics = self._sent_metrics | figures.keys()
            status = progress.model_dump(by_alias=True, mode="json")
            self._merge({"progress": {**status, "metrics": {**gone, **progress.metrics}}}, urgent=changed)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """There is a new point to resume from."""
        log.info("checkpoint at step %d: %s", checkpoint.step, checkpoint.uri)
        self._progressed |= checkpoint.step > int((self._told.get("lastCheckpoint") or {}).get("step", -1))
        self._merge({"lastCheckpoint": checkpoint.wire()}, urgent=True)

    def resumed(self, step: int) -> None:
        """This attempt goes on where another was stopped."""
        log.info("resumed from step %d", step)
        self._merge({"resumedFromStep": step}, urgent=True)

    def result(self, result: Result, signature: str) -> None:
        """The stage is finished. Where another attempt has told its result meanwhile, that one stands.

        `signature`: of the result, with the trust domain's key.

        Raises:
            ResultNotDelivered: the API server could not be told for ten minutes, or refuses.
        """
        artifact = result.artifact
        what = f"{artifact.uri} {artifact.digest}" if artifact else "no artifact"
        log.info("finished%s: %s", " (reused)" if result.reused else "", what)
        done: dict[str, Any] = {"result": result.wire(), "resultSignature": signature, "error": None, "idleStops": None}
        if not self._close(done, RESULT_PATIENCE_SECONDS):
            raise ResultNotDelivered(f"the Report {self._report} could not be told of the result")

    def error(self, error: StageError) -> None:
        """The attempt has failed. Not being able to say so is no second failure."""
        self._close({"error": error.wire()}, ERROR_PATIENCE_SECONDS)

    def close(self, patience_seconds: float = 5.0) -> None:
        """Sends what is left."""
        self._close({}, patience_seconds)

    def stopped(self, patience_seconds: float = 5.0) -> int:
        """The attempt was told to stop. Returns how many in a row were before a newer checkpoint, with this one."""
        if self._server is None:
            return 0
        if not self._told:
            with contextlib.suppress(ApiServerError):  # told below, or not: the process has to end either way
                self._send({})
        idle = 0 if self._progressed else int(self._told.get("idleStops") or 0) + 1
        self._close({"idleStops": idle or None}, patience_seconds)
        return idle

    def _merge(self, status: dict[str, Any], *, urgent: bool) -> None:
        if self._server is None:
            return
        with self._lock:
            self._pending.update(status)
            self._urgent = self._urgent or urgent
            self._lock.notify()

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            with self._lock:
                while not self._closed and not self._due(last):
                    self._lock.wait(timeout=URGENT_SECONDS / 4)
                if self._closed:
                    return
                status, self._pending, self._urgent = self._pending, {}, False
            last = time.monotonic()
            try:
                self._send(status)
            except ApiServerError as error:
                log.warning("progress not reported: %s", error)
                if error.retriable:
                    with self._lock:
                        # What came meanwhile is newer.
                        self._pending = {**status, **self._pending}

    def _due(self, last: float) -> bool:
        pause = URGENT_SECONDS if self._urgent else INTERVAL_SECONDS
        return bool(self._pending) and time.monotonic() - last >= pause

    def _close(self, status: dict[str, Any], patience_seconds: float) -> bool:
        with self._lock:
            self._closed = True
            self._lock.notify()
        if self._thread is not None:
            self._thread.join(timeout=30)
            self._thread = None
        last = {**self._pending, **status}
        self._pending = {}
        if self._server is None or not last:
            return True
        return self._deliver(last, patience_seconds)

    def _deliver(self, status: dict[str, Any], patience_seconds: float) -> bool:
        try:
            patiently(lambda: self._send(status), patience_seconds)
        except ApiServerError as error:
            log.error("the Report %s could not be told: %s", self._report, error)
            return False
        return True

    def _send(self, status: dict[str, Any]) -> None:
        """One patch; an empty one reads. A result is written only over a Report that is known to have none."""
        assert self._server is not None and self._report is not None
        body: dict[str, Any] = {"status": status} if status else {}
        if "result" in status:
            if self._version is None:
                self._send({})
            if self._told.get("result"):
                log.info("the Report %s has its result already; it stands", self._report)
                return
            body["metadata"] = {"resourceVersion": self._version}
        try:
            found = self._server.merge_patch_report_status(self._report, body)
        except ApiServerError:
            self._version = None  # somebody else wrote it, or what became of this patch is unknown
            raise
        self._take(found)

    def _take(self, found: dict[str, Any]) -> None:
        self._version, self._told = found["metadata"]["resourceVersion"], found.get("status", {})

    def _print(self, progress: Progress, changed: bool) -> None:
        if not changed and time.monotonic() - self._printed < INTERVAL_SECONDS:
            return
        self._printed = time.monotonic()
        log.info("%s", progress_line(progress))


def progress_line(progress: Progress) -> str:
    """One line for people: `training 42.0 %, step 210/500, about 3 min 10 s left, loss 0.231`."""
    parts = [progress.phase or ""]
    if progress.percent is not None:
        parts[0] += f" {progress.percent:.1f} %"
    if progress.step is not None:
        parts.append(f"step {progress.step}" + (f"/{progress.total_steps}" if progress.total_steps else ""))
    if progress.eta_seconds is not None:
        parts.append(f"about {_duration(progress.eta_seconds)} left")
    parts.extend(f"{name} {value:.4g}" for name, value in progress.metrics.items())
    return ", ".join(parts)


def _is_figure(value: float) -> bool:
    """Whether it is a number that a Report may hold; a loss on its way to infinity is none."""
    return abs(value) <= LARGEST


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def write_termination_message(message: str) -> None:
    """Leaves the last words where `kubectl describe pod` shows them, if this is a pod."""
    path = Path(os.environ.get("KAON_TERMINATION_LOG", "/dev/termination-log"))
    if not path.exists():
        return
    try:
        path.write_text(message[:4000], encoding="utf-8")
    except OSError as error:
        log.debug("no termination log: %s", error)
