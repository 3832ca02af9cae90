"""The plan of a stage that runs a Job: one Job and one Report for each input digest, what is kept, what is said. Pure.

A stage is finished when the Report of its digest holds a result; the Job is only the way to get there and may be gone
by then. What a Job's pods are told stands in the Report, which is made before the Job, and anew for each Job that is
told something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from kaon.api import conditions as c
from kaon.api.common import StageSpec
from kaon.api.report import ReportStatus, Result
from kaon.contract.address import VERSION, address_of, artifact_uri, stage_folder
from kaon.contract.attestation import RESULT_TYPE, attested
from kaon.contract.digest import short
from kaon.contract.jobspec import SIGNING_SECRET, JobSpec, Provenance, StoreAccess
from kaon.controllers.base import Child, EventRecord, Key, Object, Observed, Plan
from kaon.controllers.conditions import Claim, State, conditions_of, parse_timestamp, timestamp
from kaon.controllers.diagnosis import death_cause, living_cause
from kaon.controllers.placement import refused_placement
from kaon.controllers.remembered import digest, parsed
from kaon.controllers.stage import (
    HISTORY_LENGTH,
    INPUTS_KNOWN,
    Ready,
    Stage,
    failed,
    invalid_spec,
    kept,
    storage_of,
    working,
)
from kaon.resources import labels
from kaon.resources.access import job_access
from kaon.resources.egress import stage_network_policy
from kaon.resources.job import job, suspension
from kaon.resources.report import report, tells_the_same
from kaon.resources.signing import signing_secret

PROGRAMS = ("dataset", "training", "compression")
"""The parts of a result, of which a program fills its own."""
PODS_GRACE_SECONDS = 30
"""How long the cluster may take to make a Job's pod before it is said that it makes none."""
RESULT_GRACE_SECONDS = 30
"""How long a complete Job's Report may still be on its way before the Job is run again."""


def plan_stage(stage: Stage, observed: Observed) -> Plan:
    """The plan of one resource of a stage's kind."""
    try:
        spec = parsed(stage.spec_model, observed.obj.get("spec", {}))
    except ValidationError as error:
        return _plan(observed, kept(observed), invalid_spec(error))
    store = storage_of(observed, spec)
    if isinstance(store, State):
        return _plan(observed, kept(observed), store)
    resolved = stage.resolve(observed, spec, store)
    refused = refused_placement(
        {"spec.podTemplate": spec.pod_template}, observed.obj["metadata"]["namespace"], observed.config.pods.placement
    )
    if isinstance(resolved, State):
        return _plan(observed, kept(observed), refused or resolved)
    return _Run(stage, observed, spec, store, resolved, refused).plan()


def child_name(owner: str, short_name: str, digest: str) -> str:
    """The name of a stage's Job and Report. At most 57 characters, since owners' names have at most 40."""
    return f"{owner}-{short_name}-{short(digest)}"


def _plan(
    observed: Observed,
    children: tuple[Child, ...],
    state: State,
    *,
    fields: Mapping[str, Any] | None = None,
    outcome: Mapping[str, Any] | None = None,
    requeue_after: float | None = None,
    look_up: frozenset[Key] = frozenset(),
) -> Plan:
    """A plan with the whole status: `fields` and what every status has."""
    previous = observed.obj.get("status", {})
    generation = observed.obj["metadata"].get("generation", 0)
    history = list(previous.get("history", []))
    status_fields = fields or {}
    events: tuple[EventRecord, ...] = ()
    if outcome and not any(same_outcome(outcome, item, status_fields.get("reused", False)) for item in history):
        history = [*history, dict(outcome)][-HISTORY_LENGTH:]
        # What went well is told by conditions and history; an Event more for each run would be for nobody.
        events = () if state.ready else (EventRecord("Warning", state.reason, state.message),)
    unknown = Claim(None, state.reason, "The inputs were not looked at.")
    status = {
        "phase": state.phase,
        "observedGeneration": generation,
        "conditions": conditions_of(_telling_inputs(state, unknown), previous, generation, observed.now),
        **status_fields,
        **({"history": history} if history else {}),
    }
    return Plan(children, status, requeue_after, events, look_up)


def _telling_inputs(state: State, otherwise: Claim) -> State:
    """The state with a claim on its inputs: its own, or `otherwise`."""
    return replace(state, claims={c.INPUTS_READY: otherwise, **state.claims})


def same_outcome(one: Mapping[str, Any], other: Mapping[str, Any], reused: bool = False) -> bool:
    """Whether two history entries tell of the same run.

    `reused`: the first one's run made nothing, but found an artifact, so it is told together with the run that made it.
    """
    same = ("inputDigest", "outcome", "artifactDigest" if reused else "time")
    return all(one.get(name) == other.get(name) for name in same)


@dataclass(frozen=True)
class _Run:
    """The planning of a stage whose inputs are known."""

    stage: Stage
    observed: Observed
    spec: StageSpec
    store: StoreAccess
    inputs: Ready
    refused: State | None
    """Why no pod may start. What is finished needs none, and what runs goes on."""

    @cached_property
    def declaration(self) -> str:
        return digest({"addressing": VERSION, "kind": self.stage.kind, **self.inputs.declared})

    @cached_property
    def digest(self) -> str:
        if not self.inputs.selection:
            return self.declaration
        return digest({"declaration": self.declaration, "selection": self.inputs.selection})

    @property
    def namespace(self) -> str:
        return str(self.observed.obj["metadata"]["namespace"])

    @property
    def folder(self) -> str:
        """Where the stage's artifact goes."""
        return stage_folder(self.store.uri, self.observed.config.trust.domain(self.namespace), self.stage.plural)

    @cached_property
    def name(self) -> str:
        return child_name(self.observed.obj["metadata"]["name"], self.stage.short_name, self.digest)

    @property
    def job_key(self) -> Key:
        return Key("Job", self.observed.obj["metadata"]["namespace"], self.name)

    @property
    def report_key(self) -> Key:
        return Key("Report", self.observed.obj["metadata"]["namespace"], self.name)

    def _waits_for_collector(self) -> bool:
        """Whether what a deleted namesake left still has the names of this one's children."""
        return bool({self.job_key, self.report_key} & self.observed.occupied)

    def plan(self) -> Plan:
        if self._waits_for_collector():
            state = working("Pending", c.PENDING, "Waiting for the children of a deleted namesake to be collected.")
            return self._finish((), state, requeue_after=2.0)
        found_job = self.observed.children.get(self.job_key)
        found_report = self.observed.children.get(self.report_key)
        said = ReportStatus.model_validate((found_report or {}).get("status", {}))
        if said.result is not None:
            doubt = self._doubt(found_report or {}, said, said.result)
            return self._done(found_job, said, said.result) if doubt is None else self._distrusted(found_job, doubt)
        if found_job is None and self._failed_before():
            return self._still_failed()
        if found_job is None:
            return self._start()
        return self._running(found_job, said)

    # -- the four ways it can stand ------------------------------------------------------------------------------

    def _done(self, found_job: Object | None, said: ReportStatus, result: Result) -> Plan:
        verdict = self.stage.judge(self.spec, self.inputs.work, result)
        artifact = result.artifact.wire() if result.artifact and verdict.artifact else None
        outcome = {
            "time": result.completion_time,
            "outcome": verdict.state.reason,
            "inputDigest": self.digest,
            **({"artifactDigest": result.artifact.digest} if result.artifact else {}),
            "message": verdict.state.message,
        }
        fields = {
            **({"startTime": result.start_time} if result.start_time else {}),
            "completionTime": result.completion_time,
            "progress": {"percent": 100, "phase": "reused" if result.reused else "done"},
            "reused": result.reused,
            "cost": result.cost.wire(),
            **self._attempts(found_job, said),
            **self.stage.running_fields(said),
            **({"artifact": artifact} if artifact else {}),
            **verdict.fields,
        }
        jobs = (Child(found_job, mode="keep"),) if found_job else ()
        return self._finish(jobs, verdict.state, fields=fields, outcome=outcome)

    def _doubt(self, found_report: Object, said: ReportStatus, result: Result) -> str | None:
        """Why a result is not believed; None when it is signed, for this Report, and names the folder that was told."""
        claimed = attested(
            found_report["status"]["result"],
            report=self.name,
            namespace=self.namespace,
            owner_uid=self.observed.obj["metadata"]["uid"],
            stage=self.inputs.work.stage,
            input_digest=self.digest,
        )
        key = self.observed.config.trust.key(self.namespace).public
        if said.result_signature is None or not key.verifies(RESULT_TYPE, claimed, said.result_signature):
            return (
                f"it is not signed for this Report with the key of the trust domain "
                f"{self.observed.config.trust.domain(self.namespace)!r} (key {key.id[:12]})"
            )
        told = [name for name in PROGRAMS if getattr(result, name) is not None]
        if told != [self.stage.program]:
            return f"it has the figures of {' and '.join(told) or 'no program'} where {self.stage.program} was asked"
        wanted = artifact_uri(self.folder, address_of(self.declaration, result.content))
        if result.artifact is not None and result.artifact.uri != wanted:
            return f"it names the artifact {result.artifact.uri}, which should be {wanted}"
        return None

    def _distrusted(self, found_job: Object | None, doubt: str) -> Plan:
        message = (
            f"The result in Report {self.name} is not believed: {doubt}. Find out who wrote it. If the Secret "
            f"{SIGNING_SECRET} of this namespace has been replaced, delete it. Then set spec.rerun to a new value."
        )
        jobs = (Child(found_job, mode="keep"),) if found_job else ()
        return self._finish(jobs, failed(c.RESULT_UNTRUSTED, message))

    def _start(self) -> Plan:
        if self.spec.suspend:
            state = State("Suspended", c.SUSPENDED, "spec.suspend is true: nothing new starts.", quiet=True)
            return self._finish((), state)
        if self.refused is not None:
            return self._finish((), self.refused)
        # A Report without a result: its Job may have told one, ended and been removed meanwhile.
        look_up = frozenset(self.observed.children.keys() & {self.report_key})
        found_report = self.observed.children.get(self.report_key)
        if found_report is not None and not tells_the_same(found_report, self.new_report):
            # A Report does not change: this one is removed, and made anew with the Job.
            state = self._waiting_for_pod()
            return self._finish((), state, look_up=look_up, requeue_after=1.0, reported=False)
        config = self.observed.config
        made = job(
            self.observed.obj,
            self.spec,
            self.told,
            config.images,
            secrets=self.inputs.secrets,
            limits=config.pods.stage_limits,
        )
        return self._finish((Child(made, mode="create"),), self._waiting_for_pod(), look_up=look_up)

    def _running(self, found_job: Object, said: ReportStatus) -> Plan:
        job_failed = _true_condition(found_job, "Failed")
        if job_failed is not None:
            return self._job_failed(found_job, said, job_failed)
        job_complete = _true_condition(found_job, "Complete")
        if job_complete is not None:
            return self._result_missing(found_job, job_complete)
        fields = {"startTime": said.start_time or found_job.get("status", {}).get("startTime")}
        if said.progress is not None:
            fields["progress"] = said.progress.wire()
        fields = {name: value for name, value in fields.items() if value is not None}
        fields |= self._attempts(found_job, said) | dict(self.stage.running_fields(said))
        state = self._living_state(found_job, said)
        again = self._pods_overdue_in(found_job)
        requeue_after = again + 1 if again is not None and again > 0 else None
        return self._finish(self._living_job(found_job), state, fields=fields, requeue_after=requeue_after)

    def _job_failed(self, found_job: Object, said: ReportStatus, why: Object) -> Plan:
        reason, message = self._cause(found_job, said, why)
        message = f"{message} {_way_out(self.name)}"
        time = why.get("lastTransitionTime") or timestamp(self.observed.now)
        outcome = {"time": time, "outcome": reason, "inputDigest": self.digest, "message": message}
        fields = {"completionTime": time, **self._attempts(found_job, said), **self.stage.running_fields(said)}
        if said.start_time:
            fields["startTime"] = said.start_time
        jobs = (Child(found_job, mode="keep"),)
        return self._finish(jobs, failed(reason, message), fields=fields, outcome=outcome)

    # -- parts -----------------------------------------------------------------------------------------------------

    @cached_property
    def told(self) -> JobSpec:
        """What a Job of now is told."""
        meta = self.observed.obj["metadata"]
        config = self.observed.config
        return JobSpec(
            provenance=Provenance(
                kind=self.stage.kind,
                namespace=meta["namespace"],
                name=meta["name"],
                uid=meta["uid"],
                generation=meta.get("generation", 0),
                kaon_version=config.version,
                image=config.images.jobs,
            ),
            input_digest=self.digest,
            declaration=self.declaration,
            report=self.name,
            output=StoreAccess(uri=self.folder, secret=self.store.secret),
            work=self.inputs.work,
            budgets=config.budgets,
        )

    def _cause(self, found_job: Object, said: ReportStatus, why: Object) -> tuple[str, str]:
        if why.get("reason") == "DeadlineExceeded":
            limit = self.spec.active_deadline_seconds
            return c.DEADLINE_EXCEEDED, f"The stage ran longer than spec.activeDeadlineSeconds ({limit} s)."
        death = death_cause(self._pods())
        if death is not None and death.reason in (c.OUT_OF_MEMORY, c.OUT_OF_SCRATCH_SPACE):
            return death.reason, death.message
        if said.error is not None:
            return said.error.reason, said.error.message
        if death is not None:
            return death.reason, death.message
        return "JobFailed", f"Job {self.name} failed: {why.get('message', why.get('reason', 'no reason given'))}."

    def _living_state(self, found_job: Object, said: ReportStatus) -> State:
        if found_job.get("spec", {}).get("suspend"):
            if self.spec.suspend:
                return State("Suspended", c.SUSPENDED, "spec.suspend is true: the Job is suspended.", quiet=True)
            return working("Pending", "Queued", "The Job is suspended, waiting for its queue to admit it.")
        cause = living_cause(self._pods())
        if cause is not None:
            return working("Pending", cause.reason, cause.message)
        status = found_job.get("status", {})
        retries = status.get("failed", 0)
        again = ""
        if retries:
            error = said.error.message if said.error else (death_cause(self._pods()) or ("", "no reason is known"))[1]
            again = f" Attempt {retries + 1} of {self.spec.backoff_limit + 1}; the last one ended: {error}"
        if said.resumed_from_step is not None:
            again += f" Resumed from the checkpoint at step {said.resumed_from_step}."
        if status.get("ready", 0) or (status.get("active", 0) and said.progress is not None):
            doing = said.progress.phase if said.progress and said.progress.phase else "working"
            return working("Running", c.RUNNING, f"Job {self.name}: {doing}.{again}")
        overdue_in = self._pods_overdue_in(found_job)
        if overdue_in is not None and overdue_in <= 0:
            return working(
                "Pending",
                "PodsRefused",
                f"The cluster makes no pod for Job {self.name}; `kubectl describe job {self.name}` says why: a quota, "
                "or a serviceAccountName, priorityClassName or runtimeClassName that does not exist.",
            )
        return self._waiting_for_pod(again)

    def _pods_overdue_in(self, found_job: Object) -> float | None:
        """Seconds until the Job's pod is overdue; None while it is not waited for."""
        status = found_job.get("status", {})
        started = status.get("startTime")
        suspended = found_job.get("spec", {}).get("suspend")
        if started is None or suspended or status.get("active") or status.get("succeeded") or self._pods():
            return None
        return PODS_GRACE_SECONDS - (self.observed.now - parse_timestamp(started)).total_seconds()

    def _waiting_for_pod(self, again: str = "") -> State:
        return working("Pending", c.PENDING, f"Job {self.name} waits for its pod to start.{again}")

    def _living_job(self, found_job: Object) -> tuple[Child, ...]:
        """The Job that runs: as it is, except that it follows spec.suspend, unless a queue owns that field."""
        queued = labels.QUEUE_NAME in found_job["metadata"].get("labels", {})
        if not queued and bool(found_job.get("spec", {}).get("suspend")) != self.spec.suspend:
            namespace = self.observed.obj["metadata"]["namespace"]
            return (Child(suspension(self.name, namespace, self.spec.suspend)),)
        return (Child(found_job, mode="keep"),)

    def _result_missing(self, found_job: Object, complete: Object) -> Plan:
        ended = parse_timestamp(complete.get("lastTransitionTime") or timestamp(self.observed.now))
        age = (self.observed.now - ended).total_seconds()
        state = working("Running", c.RUNNING, f"Job {self.name} is complete; its result is on the way.")
        if age < RESULT_GRACE_SECONDS:
            jobs = (Child(found_job, mode="keep"),)
            return self._finish(jobs, state, requeue_after=min(RESULT_GRACE_SECONDS - age, RESULT_GRACE_SECONDS) + 1)
        # Not planned any more: it is removed, then made again, finds its artifact finished and reports that.
        return self._finish((), state, requeue_after=1.0, look_up=frozenset({self.report_key}))

    @cached_property
    def new_report(self) -> Object:
        """The Report that a Job of now would have."""
        return report(self.observed.obj, self.told, self.observed.config.trust.key(self.namespace))

    def _report(self) -> Child:
        """The Report as it is, or a new one."""
        found = self.observed.children.get(self.report_key)
        return Child(self.new_report, mode="create") if found is None else Child(found, mode="keep")

    def _attempts(self, found_job: Object | None, said: ReportStatus) -> dict[str, Any]:
        """How many pods it took; what was known of it, once the Job is gone.

        The Job counts no pod that was told to stop, and the pods count none that died before it could say a word.
        """
        if found_job is None:
            previous = self.observed.obj.get("status", {})
            known = previous.get("attempts") if previous.get("inputDigest") == self.digest else None
            return {} if known is None else {"attempts": known}
        status = found_job.get("status", {})
        # A failed Job has no pod beside those that failed.
        counted = status.get("failed", 0) + status.get("active", 0) + status.get("succeeded", 0)
        return {"attempts": max(1, counted, said.attempt or 0)}

    def _failed_before(self) -> bool:
        """Whether this digest's Job failed and was then removed by its time to live, which is no wish to try again."""
        previous = self.observed.obj.get("status", {})
        stalled = _true_condition(self.observed.obj, c.STALLED)
        if stalled is None or self.spec.ttl_seconds_after_finished is None:
            return False
        # The history tells a Job that failed from what never was one, e.g. a Job that the API server refused.
        return any(
            item.get("inputDigest") == self.digest
            and item["outcome"] == stalled["reason"]
            and "artifactDigest" not in item
            for item in previous.get("history", [])
        )

    def _still_failed(self) -> Plan:
        previous = self.observed.obj["status"]
        stalled = _true_condition(self.observed.obj, c.STALLED)
        assert stalled is not None
        keep = {name: previous[name] for name in ("startTime", "completionTime") if name in previous}
        return self._finish((), failed(stalled["reason"], stalled["message"]), fields=keep)

    def _pods(self) -> list[Object]:
        return [
            pod
            for pod in self.observed.pods
            if pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name") == self.name
        ]

    def _finish(
        self,
        jobs: tuple[Child, ...],
        state: State,
        *,
        fields: Mapping[str, Any] | None = None,
        outcome: Mapping[str, Any] | None = None,
        requeue_after: float | None = None,
        look_up: frozenset[Key] = frozenset(),
        reported: bool = True,
    ) -> Plan:
        """reported: the Report stays."""
        keys = signing_secret(self.namespace, self.observed.config.trust.key(self.namespace))
        policy = stage_network_policy(self.namespace, self.observed.config.pods.egress)
        own = () if self._waits_for_collector() or not reported else (self._report(), *jobs)
        state = _telling_inputs(state, INPUTS_KNOWN)
        return _plan(
            self.observed,
            (*job_access(self.namespace), keys, *policy, *own),
            state,
            fields={"inputDigest": self.digest, "jobName": self.name, **self.inputs.fields, **(fields or {})},
            outcome=outcome,
            requeue_after=requeue_after,
            look_up=look_up,
        )


def _true_condition(obj: Object, kind: str) -> Object | None:
    """A condition that is True, whatever generation it speaks of: a Job's speak of none."""
    for item in obj.get("status", {}).get("conditions", []):
        if item["type"] == kind and item["status"] == "True":
            found: Object = item
            return found
    return None


def _way_out(name: str) -> str:
    return f"To try the same again, set spec.rerun to a new value, or delete the Job {name} while it is there."
