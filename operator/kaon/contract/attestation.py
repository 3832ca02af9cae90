"""What a stage's pod signs when it tells its result: the result, and whose it is. Pure.

The Report of a stage can be written by whoever holds the token of its pod. The signature shows that a result was told
by a program that holds the trust domain's key, for this very Report and input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaon.contract.digest import canonical_json
from kaon.contract.jobspec import JobSpec
from kaon.contract.signing import SigningKey

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
