"""What is signed in a Report: by the operator what the pod is told, by the pod its result, and whose it is. Pure.

A Report can be made by whoever has the right to make Reports, and its status be written by whoever holds the token of
its pod. The signatures show that both were said by holders of the trust domain's key, for this very Report and input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaon.contract.digest import canonical_json
from kaon.contract.jobspec import JobSpec
from kaon.contract.signing import SigningKey

JOB_TYPE = "application/vnd.kaon.dev.job.v1+json"
"""Of the text of a JobSpec, which names its Report, the namespace and the resource's UID."""
RESULT_TYPE = "application/vnd.kaon.dev.result.v1+json"


def attested(
    result: Mapping[str, Any], *, report: str, namespace: str, owner_uid: str, stage: str, input_digest: str
) -> bytes:
    """The bytes that are signed. `result`: in its wire form."""
    return canonical_json(
        {
            "report": report,
            "namespace": namespace,
            "ownerUid": owner_uid,
            "stage": stage,
            "inputDigest": input_digest,
            "result": result,
        }
    )


def attest(job: JobSpec, result: Mapping[str, Any], key: SigningKey) -> str:
    """The signature (base64) of a job's result."""
    return key.signature(
        RESULT_TYPE,
        attested(
            result,
            report=job.report or "",
            namespace=job.provenance.namespace,
            owner_uid=job.provenance.uid,
            stage=job.work.stage,
            input_digest=job.input_digest,
        ),
    )
