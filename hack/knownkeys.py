"""A root key that everybody knows, for clusters where nothing is at stake: operators are started with it, and results
are signed with the keys that follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kaon.contract.attestation import attest
from kaon.contract.jobspec import JobSpec
from kaon.contract.trust import TrustDomains

ROOT_KEY = bytes(range(32))
TRUST = TrustDomains(ROOT_KEY)

Object = dict[str, Any]


def root_key_file(folder: Path) -> Path:
    """Writes the root key into a file for --root-key-file."""
    path = folder / "root.key"
    path.write_text(ROOT_KEY.hex())
    return path


def told(report: Object) -> JobSpec:
    """What the pods of a Report are told."""
    return JobSpec.model_validate_json(report["spec"]["job"]).model_copy(update={"content": {}})


def signed(job: JobSpec, result: Object, trust: TrustDomains = TRUST) -> Object:
    """The part of a Report's status that tells a result. Its artifact, if it has one, lies where the job was told."""
    if result.get("artifact"):
        assert job.artifact is not None
        result = {**result, "artifact": {**result["artifact"], "uri": job.artifact.uri}}
    return {"result": result, "resultSignature": attest(job, result, trust.key(job.provenance.namespace))}
