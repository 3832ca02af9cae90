"""The API server itself refuses what no stage could do anything with, and says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from crd_samples import USER_KINDS, Broken, every_bound
from rule_samples import MINIMAL, REFUSED_URIS, RULES, TAKEN_FIELDS, TAKEN_URIS, TEMPLATES, URIS, broken, placed

from kaon.api.base import Rule
from kaon.api.common import StageSpec
from kaon.api.modeldeployment import Batching, ModelDeploymentSpec, Revision, ServedModelReference
from kaon.api.schema import NAME_RULES, Kind, crd
from kaon.contract.jobspec import FetchWork, InputArtifact, JobSpec, Provenance
from kaon.resources.base import Images
from kaon.resources.job import job
from kaon.resources.podpolicy import PodPolicy
from kaon.resources.router_deployment import router_deployment
from kaon.resources.serving_deployment import server_deployment

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("r8/*.yaml"))
BROKEN = [broken for kind in USER_KINDS for broken in every_bound(kind)]

NAMES = (
    ("a" * 41, "metadata.name must be at most 40 characters"),
    ("1st", "metadata.name must start with a letter"),
    ("a.b", "metadata.name must start with a letter"),
)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_passes_a_server_side_dry_run(kubectl: Any, example: Any) -> None:
    assert "created (server dry run)" in kubectl("apply", "--dry-run=server", "-f", str(example))


@pytest.mark.parametrize("kind", USER_KINDS, ids=lambda kind: kind.kind)
def test_the_minimal_resource_is_taken(dry_run: Any, kind: Kind) -> None:
    assert dry_run(kind.kind, MINIMAL[kind.kind]) == ""
    assert dry_run(kind.kind, MINIMAL[kind.kind], "a" * 40) == ""


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_value_outside_its_bounds_is_refused_and_the_field_is_named(dry_run: Any, broken: Broken) -> None:
    refusal = dry_run(broken.kind, broken.spec)
    assert broken.says in refusal
    assert broken.field in refusal


@pytest.mark.parametrize(("kind", "fields", "message"), RULES)
def test_a_broken_rule_is_refused_with_its_own_sentence(
    dry_run: Any, kind: str, fields: dict[str, Any], message: str
) -> None:
    assert message in dry_run(kind, broken(kind, fields))


@pytest.mark.parametrize(("kind", "fields"), TAKEN_FIELDS)
def test_fields_that_break_no_rule_are_taken(dry_run: Any, kind: str, fields: dict[str, Any]) -> None:
    assert dry_run(kind, broken(kind, fields)) == ""


@pytest.mark.parametrize("kind", USER_KINDS, ids=lambda kind: kind.kind)
@pytest.mark.parametrize(("name", "message"), NAMES)
def test_a_name_that_no_service_could_have_is_refused(dry_run: Any, kind: Kind, name: str, message: str) -> None:
    assert message in dry_run(kind.kind, MINIMAL[kind.kind], name)


@pytest.mark.parametrize(("kind", "path"), URIS)
def test_only_stores_and_mounted_claims_have_data(dry_run: Any, kind: str, path: tuple[str | int, ...]) -> None:
    assert {uri: dry_run(kind, placed(kind, path, uri)) for uri in TAKEN_URIS} == dict.fromkeys(TAKEN_URIS, "")
    for uri in REFUSED_URIS:
        assert "should match" in dry_run(kind, placed(kind, path, uri)), uri


def test_no_rule_is_left_untested() -> None:
    def rules(node: Any) -> set[str]:
        if isinstance(node, list):
            return {rule for child in node for rule in rules(child)}
        if not isinstance(node, dict):
            return set()
        own = {Rule(**rule).message for rule in node.get("x-kubernetes-validations", ())}
        return own | {rule for child in node.values() for rule in rules(child)}

    tested = [*(message for _, _, message in RULES), *(message for _, message in NAMES)]
    for kind in USER_KINDS:
        for message in rules(crd(kind)):
            assert any(message.startswith(beginning) for beginning in tested), message
    assert len(NAME_RULES) == 2


@pytest.mark.parametrize(
    ("kind", "typo", "path"),
    [
        ("Dataset", {"qualty": {}}, "spec.qualty"),
        ("TrainingRun", {"recipe": {"epoch": 3}}, "spec.recipe.epoch"),
        ("CompressionJob", {"objectiv": "size"}, "spec.objectiv"),
        ("ModelDeployment", {"gates": {"minAcuracy": 0.9}}, "spec.gates.minAcuracy"),
    ],
)
def test_a_misspelt_field_is_refused_by_name(dry_run: Any, kind: str, typo: dict[str, Any], path: str) -> None:
    assert f'unknown field "{path}"' in dry_run(kind, {**MINIMAL[kind], **typo})


def test_nothing_is_filled_in_so_that_no_git_controller_sees_a_difference(kubectl: Any, namespace: str) -> None:
    for kind in USER_KINDS:
        made = {
            "apiVersion": "kaon.dev/v1alpha1",
            "kind": kind.kind,
            "metadata": {"name": "x", "namespace": namespace},
            "spec": MINIMAL[kind.kind],
        }
        kubectl.apply(made)
        stored = kubectl.get(kind.plural, "x", namespace)
        assert stored is not None and stored["spec"] == MINIMAL[kind.kind]


OWNER = {"kind": "ModelDeployment", "metadata": {"name": "x", "namespace": "default", "uid": "1"}}
IMAGES = Images("jobs", "triton", "torchserve", "router", pull_secrets=("registry",))
LIMITS = PodPolicy()


def pods_of(template: dict[str, Any]) -> list[dict[str, Any]]:
    """A Job, a server's Deployment and a router's, with this pod template."""
    ref = ServedModelReference(kind="TrainingRun", name="t")
    digest = "sha256:" + "0" * 64
    spec = ModelDeploymentSpec.model_validate({"modelRef": ref.wire(), "podTemplate": template, "router": template})
    stage = StageSpec.model_validate({"podTemplate": template})
    model = InputArtifact(uri="s3://b", digest=digest)
    told = JobSpec(
        provenance=Provenance(kind="", namespace="", name="", uid="", generation=1, kaon_version="", image=""),
        input_digest=digest,
        report="x",
        work=FetchWork(model=model, kind="model", server="triton", model_name="x", target_dir="/x"),
    )
    revision = Revision(
        revision="aaaaaaaa", model_ref=ref, server="triton", threads=1, batching=Batching(), artifact_uri="s3://b/$(X)",
        artifact_digest=digest, since="2026-01-01T00:00:00Z", weight=100,
    )  # fmt: skip
    return [
        job(OWNER, stage, told, IMAGES, secrets=frozenset({"store"}), limits=LIMITS.stage_limits),
        server_deployment(OWNER, spec, revision, replicas=1, images=IMAGES, version="1", limits=LIMITS.server_limits),
        router_deployment(OWNER, spec, IMAGES, digest, LIMITS.router_limits),
    ]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_pod_template_that_is_taken_makes_pods_that_are_taken(
    dry_run: Any, kubectl: Any, template: dict[str, Any]
) -> None:
    assert dry_run("ModelDeployment", broken("ModelDeployment", {"podTemplate": template, "router": template})) == ""
    made = {"apiVersion": "v1", "kind": "List", "items": pods_of(template)}
    answer = kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=json.dumps(made))
    assert answer.count("serverside-applied (server dry run)") == 3, answer
