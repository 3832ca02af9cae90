"""The Report of a stage: the operator writes what the stage's pod is told, the pod what comes of it. Create-only."""

from __future__ import annotations

from kaon.api.base import API_VERSION
from kaon.contract.attestation import JOB_TYPE
from kaon.contract.digest import text_digest
from kaon.contract.jobspec import JobSpec
from kaon.contract.signing import SigningKey
from kaon.resources.base import Object
from kaon.resources.pods import child_labels

JOB_DIGEST = "jobDigest"
"""What a cache keeps of `job`. No Report at the API server has it: the CRD does not know it."""


def report(obj: Object, told: JobSpec, key: SigningKey) -> Object:
    """The Report that `told` names, which is also the name of the stage's Job. `key`: of the trust domain."""
    text = told.text
    return {
        "apiVersion": API_VERSION,
        "kind": "Report",
        "metadata": {
            "name": told.report,
            "namespace": obj["metadata"]["namespace"],
            "labels": child_labels(obj, told.work.stage, told.input_digest),
        },
        "spec": {
            "stage": told.work.stage,
            "jobName": told.report,
            "inputDigest": told.input_digest,
            "job": text,
            "jobSignature": key.signature(JOB_TYPE, text.encode()),
        },
    }


def digest_of_told(report: Object) -> str | None:
    """The digest of what a Report's pods are told; None where that is nothing. Caches keep it instead of the text."""
    spec = report.get("spec") or {}
    told = spec.get("job")
    return spec.get(JOB_DIGEST) if told is None else text_digest(told)


def tells_the_same(found: Object, wanted: Object) -> bool:
    """Whether the pods of a Report, as it is or as a cache keeps it, are told what `wanted` tells, with its signature.

    They are not where an earlier Job was told something else: another contract, budget or Secret, by another key.
    """
    signature = found.get("spec", {}).get("jobSignature")
    return digest_of_told(found) == digest_of_told(wanted) and bool(signature == wanted["spec"]["jobSignature"])
