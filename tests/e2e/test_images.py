"""A running image says itself what it is made of."""

from __future__ import annotations

import json
import re

from installation import ROOT, SYSTEM, Installation

NAMESPACE = "e2e-pipeline"


def test_the_operators_image_lists_its_packages_in_the_versions_of_the_lock_file(kaon: Installation) -> None:
    said = kaon.kube("exec", "-n", SYSTEM, "deploy/kaon-operator", "--", "cat", "/usr/share/kaon/sbom.cdx.json")
    found = {item["name"]: item["version"] for item in json.loads(said)["components"]}
    locked = re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / "requirements/operator.lock").read_text())
    assert {name: found.get(name) for name, _ in locked} == dict(locked)
    assert "libc6" in found and "torch" not in found
