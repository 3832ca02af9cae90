"""Every condition type with its polarity, and the reasons that more than one file uses. No other file names one."""

from __future__ import annotations

from typing import Final

READY: Final = "Ready"
"""Positive. True: the declared state is reached, for the generation observed."""
RECONCILING: Final = "Reconciling"
"""Negative (kstatus, abnormal when true). True: work is under way or waited for; look again later."""
STALLED: Final = "Stalled"
"""Negative (kstatus, abnormal when true). True: nothing more happens until somebody changes what the message says."""
INPUTS_READY: Final = "InputsReady"
"""Positive. True: every resource that this one refers to is ready and its artifact is known."""
ACCEPTED: Final = "Accepted"
"""Positive. CompressionJob: the budget holds on the test split. ModelDeployment: the evidence meets the gates."""

ALWAYS: Final = (READY, RECONCILING, STALLED, INPUTS_READY)

# Reasons of more than one kind. Reasons that a pod finds out come from its Report (StageError.reason).
REFERENCE_NOT_FOUND: Final = "ReferenceNotFound"
INPUTS_NOT_READY: Final = "InputsNotReady"
INPUTS_FAILED: Final = "InputsFailed"
RESULT_UNTRUSTED: Final = "ResultUntrusted"
STORAGE_NOT_CONFIGURED: Final = "StorageNotConfigured"
SUSPENDED: Final = "Suspended"
PENDING: Final = "Pending"
RUNNING: Final = "Running"
SUCCEEDED: Final = "Succeeded"
GATE_FAILED: Final = "GateFailed"
INVALID_SPEC: Final = "InvalidSpec"
TASK_UNKNOWN: Final = "TaskUnknown"
METRIC_UNKNOWN: Final = "MetricUnknown"
"""A gate or a budget names a metric that the task does not measure."""
CLASS_UNKNOWN: Final = "ClassUnknown"
"""An alert names a class that the model does not have, or that is not counted by itself."""
REFUSED: Final = "Refused"
"""The API server refuses an object that follows from the spec."""
PLACEMENT_NOT_ALLOWED: Final = "PlacementNotAllowed"
"""A pod template asks for something that the operator's configuration does not list."""
NAME_TAKEN: Final = "NameTaken"
"""An object of another owner has the name of a child."""
UNSCHEDULABLE: Final = "Unschedulable"
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
OUT_OF_MEMORY: Final = "OutOfMemory"
OUT_OF_SCRATCH_SPACE: Final = "OutOfScratchSpace"
DEADLINE_EXCEEDED: Final = "DeadlineExceeded"
