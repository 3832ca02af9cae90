"""How a program learns what to do: a stage's pod from its Report, a server's init container from a variable.

Outside of a cluster it is a file. What a Report says counts when the trust domain's key has signed it for that Report.
Touches the API server, a file or the environment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kaon.api.base import ApiModel
from kaon.contract.attestation import JOB_TYPE
from kaon.contract.jobspec import CONTRACT_VERSION, SIGNING_SECRET, SPEC_VARIABLE, JobSpec
from kaon_jobs.errors import StageFailure
from kaon_jobs.report.apiserver import ApiServer, ApiServerError, patiently
from kaon_jobs.store.trust import trusted_keys

PATIENCE_SECONDS = 600.0
"""How long the API server may be away before a pod has learnt what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the JobSpec is: in a file, in the Report of this name, or in the variable SPEC_VARIABLE."""

    file: Path | None = None
    report: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a program was told."""

    job: JobSpec
    report: dict[str, Any] | None = None
    """The Report that said so, as it was read."""


class _Contract(ApiModel):
    contract: int = CONTRACT_VERSION


def load_spec(stage: str, source: Source, server: ApiServer | None) -> Told:
    """The JobSpec, checked to be for this stage and of a contract we know.

    Raises:
        StageFailure: InvalidSpec, ContractMismatch or JobSpecUntrusted; ReportMissing or ReportUnreadable, retriable.
    """
    if source.report is not None:
        report = _read(source.report, server)
        return Told(_checked(stage, _signed(source.report, report), report), report)
    text = source.file.read_text() if source.file is not None else os.environ.get(SPEC_VARIABLE)
    if not text:
        raise StageFailure("InvalidSpec", f"no JobSpec: give --report NAME or --spec FILE, or set {SPEC_VARIABLE}")
    return Told(_checked(stage, text))


def _read(name: str, server: ApiServer | None) -> dict[str, Any]:
    """The Report, by the one call for which a pod has a right."""
    if server is None:
        raise StageFailure("InvalidSpec", "--report NAME is for a pod with a token; elsewhere give --spec FILE")
    try:
        return patiently(partial(server.merge_patch_report_status, name, {}), PATIENCE_SECONDS)
    except ApiServerError as error:
        if error.status == 404:
            raise StageFailure(
                "ReportMissing",
                f"there is no Report {name}, which says what to do: it or its resource was deleted. The operator makes "
                "it anew while the resource is there",
                retriable=True,
            ) from error
        raise StageFailure(
            "ReportUnreadable", f"the Report {name}, which says what to do, cannot be read: {error}", retriable=True
        ) from error


def _signed(name: str, report: dict[str, Any]) -> str:
    """What a Report says, when it is signed."""
    spec = report.get("spec") or {}
    text, signature = spec.get("job"), spec.get("jobSignature")
    if not text:
        raise StageFailure(
            "InvalidSpec",
            f"the Report {name} does not say what to do: it, or the cluster's CustomResourceDefinitions, are older "
            "than the operator. Apply those of its release, then delete the Job; the operator makes both anew",
        )
    if not any(key.verifies(JOB_TYPE, text.encode(), str(signature)) for key in trusted_keys()):
        raise StageFailure(
            "JobSpecUntrusted",
            f"what the Report {name} says to do is not signed with a key of this trust domain. Find out who wrote it. "
            f"If the Secret {SIGNING_SECRET} of this namespace has been replaced, delete it. Then delete the Job; the "
            "operator makes Report and Job anew",
        )
    return str(text)


def _checked(stage: str, text: str, report: dict[str, Any] | None = None) -> JobSpec:
    """The JobSpec in a text, which is that of `report` if one is given."""
    try:
        contract = _Contract.model_validate_json(text).contract
        if contract != CONTRACT_VERSION:
            raise StageFailure(
                "ContractMismatch",
                f"the operator speaks contract {contract}, this image {CONTRACT_VERSION}; set the operator's "
                "jobs image to the one of its own release",
            )
        job = JobSpec.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StageFailure("InvalidSpec", f"the JobSpec is not valid: {where}: {first['msg']}") from error
    if job.work.stage != stage:
        raise StageFailure("InvalidSpec", f"asked to run {stage}, but the JobSpec is for {job.work.stage}")
    if report is not None:
        found = f"{report['metadata']['namespace']}/{report['metadata']['name']}"
        meant = f"{job.provenance.namespace}/{job.report}"
        if found != meant:
            raise StageFailure("JobSpecUntrusted", f"the Report {found} has the JobSpec of the Report {meant}")
    return job
