"""The API server itself refuses what no stage could do anything with, and says what is wrong."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from crd_samples import MINIMAL, USER_KINDS, Broken, every_bound

from kaon.api.base import Rule
from kaon.api.schema import NAME_RULES, Kind, crd

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("r8/*.yaml"))
BROKEN = [broken for kind in USER_KINDS for broken in every_bound(kind)]

VOLUME = {"name": "v", "persistentVolumeClaim": "c"}
# (kind, fields of the spec that break it, name, the beginning of the rule's message)
RULES: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    *((kind.kind, {}, "a" * 41, "metadata.name must be at most 40 characters") for kind in USER_KINDS),
    *((kind.kind, {}, "1st", "metadata.name must start with a letter") for kind in USER_KINDS),
    *((kind.kind, {}, "a.b", "metadata.name must start with a letter") for kind in USER_KINDS),
    *(
        (kind.kind, {"podTemplate": {"volumes": [{**VOLUME, "mountPath": path}]}}, "x", message)
        for kind in USER_KINDS
        for path, message in (
            ("/etc", "mountPath must lie under /mnt/"),
            ("/mnt/../etc", "mountPath must not contain '..'"),
        )
    ),
    ("Dataset", {"split": {"validation": 0.5, "test": 0.5}}, "x", "validation + test must be below 1"),
    ("Dataset", {"split": {"validation": 0.85}}, "x", "validation + test must be below 1"),
    ("Dataset", {"split": {"test": 0.95}}, "x", "validation + test must be below 1"),
    ("CompressionJob", {"budget": {"minSizeRatio": 2}}, "x", "a budget must say what quality may be lost"),
    ("CompressionJob", {"strategy": "steps"}, "x", "strategy: steps needs the list"),
    ("CompressionJob", {"steps": [{"optimize": "transformer-fusion"}]}, "x", "strategy: steps needs the list"),
    ("CompressionJob", {"strategy": "steps", "steps": [{}]}, "x", "a step is exactly one of: optimize, quantize"),
    (
        "CompressionJob",
        {
            "strategy": "steps",
            "steps": [{"optimize": "transformer-fusion", "quantize": {"scheme": "int8-dynamic"}}],
        },
        "x",
        "a step is exactly one of: optimize, quantize",
    ),
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


@pytest.mark.parametrize(("kind", "fields", "name", "message"), RULES)
def test_a_broken_rule_is_refused_with_its_own_sentence(
    dry_run: Any, kind: str, fields: dict[str, Any], name: str, message: str
) -> None:
    assert message in dry_run(kind, {**copy.deepcopy(MINIMAL[kind]), **fields}, name)


def test_no_rule_is_left_untested() -> None:
    def rules(node: Any) -> set[str]:
        if isinstance(node, list):
            return {rule for child in node for rule in rules(child)}
        if not isinstance(node, dict):
            return set()
        own = {Rule(**rule).message for rule in node.get("x-kubernetes-validations", ())}
        return own | {rule for child in node.values() for rule in rules(child)}

    tested = [message for _, _, _, message in RULES]
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
