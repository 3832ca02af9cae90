"""The API server's audit log: which requests are written down, and reading it.

Written down are the requests of service accounts, without contents; Kubernetes' own controllers are left out. So it
says what the programs in a cluster use of the rights that they were given, and what they were refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def audit_policy() -> str:
    """The file for `--audit-policy-file`."""
    document = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    }
    return json.dumps(document, indent=2)


def audit_events(log: Path) -> Iterator[dict[str, Any]]:
    """The events so far in their order, those that the API server has moved to older files included."""
    parts = sorted(log.parent.glob(f"{log.stem}-*{log.suffix}"))
    for part in [*parts, log]:
        with part.open() as lines:
            # The last line may still be written.
            yield from (json.loads(line) for line in lines if line.endswith("\n"))
