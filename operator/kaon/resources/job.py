"""The batch/v1 Job of a stage. Create-only: its template is immutable, and no upgrade may disturb it."""

from __future__ import annotations

from collections.abc import Mapping

from kaon.api.common import StageSpec
from kaon.contract.jobspec import EXIT_TERMINATED, EXIT_WRONG_INPUT, WORK_DIR, JobSpec
from kaon.resources import labels
from kaon.resources.access import JOB_IDENTITY
from kaon.resources.base import Images, Object
from kaon.resources.pods import (
    SCRATCH,
    child_labels,
    claim_volumes,
    environment,
    pod_spec,
    resources_of,
    scratch_environment,
    scratch_size,
    scratch_volume,
    secret_volumes,
)
from kaon.resources.signing import trust_volume

CONTAINER = "stage"
GRACE_SECONDS = 120
"""Time to write a checkpoint to the store after SIGTERM."""
DEFAULT_REQUESTS = {"cpu": "500m", "memory": "1Gi"}
SHARED_MEMORY = "1Gi"
"""Of the stage's own processes. It counts as memory of the container."""


def job(
    obj: Object,
    spec: StageSpec,
    told: JobSpec,
    images: Images,
    *,
    secrets: frozenset[str],
    limits: Mapping[str, str],
) -> Object:
    """The Job that runs `told`, for the resource `obj` whose parsed spec is `spec`. It has the name of its Report.

    The pod reads from the Report what it is told: a variable could not hold it (Linux allows 128 KiB).

    secrets: names of the Secrets that open the stores it reads and writes. limits: those of the pod by default.
    """
    stage = told.work.stage
    template = spec.pod_template
    job_labels = child_labels(obj, stage, told.input_digest)
    queue = obj["metadata"].get("labels", {}).get(labels.QUEUE_NAME)
    secret_mounts = secret_volumes(secrets)
    claims = claim_volumes(template)
    trust = trust_volume(signs=True)
    bounds = resources_of(template, DEFAULT_REQUESTS, limits)
    # A queue admits no Job that asks for a resource of which the queue has no quota, were it 0 of it, as older Kueue
    # sees it. The sizes of the folders bound scratch space just as well: nothing else in the pod is writable.
    counted = {name: limit for name, limit in limits.items() if not queue or name != SCRATCH}
    container: Object = {
        "name": CONTAINER,
        "image": images.jobs,
        "imagePullPolicy": images.pull_policy,
        "args": [stage, "--report", told.report],
        "env": environment(template, {**scratch_environment(), **scratch_size(bounds)}),
        "resources": resources_of(template, DEFAULT_REQUESTS, counted),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "work", "mountPath": WORK_DIR},
            {"name": "shm", "mountPath": "/dev/shm"},
            trust[1],
            *secret_mounts[1],
            *claims[1],
        ],
    }
    pod = pod_spec(
        template,
        images,
        containers=[container],
        volumes=[
            scratch_volume("work", bounds),
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY}},
            trust[0],
            *secret_mounts[0],
            *claims[0],
        ],
        service_account=template.service_account_name or JOB_IDENTITY,
        grace_seconds=GRACE_SECONDS,
    )
    times: Object = {
        "activeDeadlineSeconds": spec.active_deadline_seconds,
        "ttlSecondsAfterFinished": spec.ttl_seconds_after_finished,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": told.report,
            "namespace": obj["metadata"]["namespace"],
            "labels": {**job_labels, **({labels.QUEUE_NAME: queue} if queue else {})},
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": spec.backoff_limit,
            # A queued Job is born suspended: Kueue's webhook insists on it, and it may be slower than the scheduler.
            **({"suspend": True} if queue else {}),
            **{field: value for field, value in times.items() if value is not None},
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_WRONG_INPUT]},
                    },
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    # A pod that is deleted without an eviction has no such condition. That such pods are not made
                    # without end is seen to by the pods themselves (kaon_jobs.report.reporter.IDLE_STOPS).
                    {
                        "action": "Ignore",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_TERMINATED]},
                    },
                ]
            },
            "template": {"metadata": {"labels": job_labels}, "spec": {**pod, "restartPolicy": "Never"}},
        },
    }


def suspension(name: str, namespace: str, suspended: bool) -> Object:
    """The one field of a living Job that Kaon changes: whether it is suspended."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": suspended},
    }
