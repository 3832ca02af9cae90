"""What of a pod template reaches a pod, and in which form."""

from __future__ import annotations

import json
import re

import pytest

from kaon.api.common import StageSpec
from kaon.api.podtemplate import PodTemplate
from kaon.contract.digest import canonical_json
from kaon.contract.jobspec import FetchWork, InputArtifact, JobSpec, Provenance
from kaon.resources.base import Images, Object
from kaon.resources.job import job
from kaon.resources.pods import environment, pod_spec

DIGEST = "sha256:" + "0" * 64
OWNER: Object = {"kind": "Dataset", "metadata": {"name": "x", "namespace": "ml", "uid": "1"}}
TEXTS = (
    "$",
    "$$",
    "$$$",
    "$(HOME)",
    "$$(HOME)",
    "$(NAME)$",
    "${NAME}",
    "$(",
    "$)",
    "a$b",
    "5 $",
    '","secret":"$(NAME)"',
)


def as_the_pod_sees_it(variables: list[Object]) -> dict[str, str]:
    """What Kubernetes makes of literal variables (k8s.io/kubernetes/third_party/forked/golang/expansion)."""
    known: dict[str, str] = {}
    for variable in variables:
        if "value" in variable:
            known[variable["name"]] = re.sub(
                r"\$(\$|\(([^)]*)\))",
                lambda found, known=known: "$" if found[1] == "$" else known.get(found[2], found[0]),
                variable["value"],
            )
    return known


@pytest.mark.parametrize("text", TEXTS)
def test_a_users_variable_reaches_the_pod_as_it_was_written(text: str) -> None:
    template = PodTemplate.model_validate({"env": [{"name": "NAME", "value": "x"}, {"name": "TEXT", "value": text}]})
    assert as_the_pod_sees_it(environment(template, {"HOME": "/home"}))["TEXT"] == text


@pytest.mark.parametrize("text", TEXTS)
def test_what_a_stage_is_told_cannot_be_rewritten_by_a_variable(text: str) -> None:
    spec = StageSpec.model_validate({"podTemplate": {"env": [{"name": "NAME", "value": '","secret":"other'}]}})
    told = JobSpec(
        provenance=Provenance(kind="", namespace="", name="", uid="", generation=1, kaon_version="", image=""),
        input_digest=DIGEST,
        work=FetchWork(model=InputArtifact(uri=text, digest=DIGEST), server="triton", model_name=text, target_dir="/"),
    )
    made = job(OWNER, spec, told, Images("jobs", "", "", ""), name="x", secrets=frozenset(), limits={})
    seen = as_the_pod_sees_it(made["spec"]["template"]["spec"]["containers"][0]["env"])["KAON_JOB_SPEC"]
    assert seen.encode() == canonical_json(told.wire())
    assert json.loads(seen)["work"]["model"] == {"uri": text, "digest": DIGEST}


def test_a_pull_secret_that_the_operator_has_already_is_named_once() -> None:
    template = PodTemplate.model_validate({"imagePullSecrets": [{"name": "registry"}, {"name": "mine"}]})
    images = Images("jobs", "", "", "", pull_secrets=("registry",))
    made = pod_spec(template, images, containers=[], volumes=[], service_account=None, grace_seconds=1)
    assert made["imagePullSecrets"] == [{"name": "registry"}, {"name": "mine"}]
