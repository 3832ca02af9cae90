"""The CRDs, generated from the models: `python -m kaon.api.schema` writes crds/*.yaml, `--check` fails on a difference.

A CRD's schema is "structural", a small dialect of OpenAPI 3.0; pydantic speaks JSON Schema 2020-12. This file is the
translation, plus what a model cannot say about its kind: names, printer columns, subresources. It touches only crds/.

There is no `default` anywhere: a default that the API server fills in inside a list item looks to a Git controller
like somebody's edit. Defaults live in the models, and are written into the descriptions for people to read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from kaon.api.base import GROUP, VERSION, ApiModel, Rule
from kaon.api.compressionjob import CompressionJobSpec, CompressionJobStatus
from kaon.api.dataset import DatasetSpec, DatasetStatus
from kaon.api.modeldeployment import ModelDeploymentSpec, ModelDeploymentStatus
from kaon.api.report import ReportSpec, ReportStatus
from kaon.api.trainingrun import TrainingRunSpec, TrainingRunStatus

HEADER: Final = "# Generated from operator/kaon/api by `python -m kaon.api.schema`. Edit the models, not this file.\n"

NAME_RULES: Final = (
    Rule(
        "self.metadata.name.size() <= 40",
        "metadata.name must be at most 40 characters: the names of its Jobs, Services and pods are made from it",
    ),
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must start with a letter and hold only a-z, 0-9 and '-': Services are named after it",
    ),
)

REPORT_RULES: Final = (
    # At the root: a rule further down is not asked when what it stands at is taken away.
    Rule(
        "!has(oldSelf.status) || !has(oldSelf.status.result) || (has(self.status) && self.status == oldSelf.status)",
        "a Report that holds a result is finished: nothing of its status can be changed or removed",
    ),
    Rule(
        "self.spec == oldSelf.spec",
        "the spec of a Report says whose it is and what its pod is told, and cannot be changed",
    ),
)

Column = dict[str, Any]


def column(name: str, path: str, type_: str = "string", *, wide: bool = False, about: str = "") -> Column:
    """A printer column of `kubectl get`; `wide` ones show with `-o wide` only."""
    made: Column = {"name": name, "type": type_, "jsonPath": path}
    if about:
        made["description"] = about
    if wide:
        made["priority"] = 1
    return made


PHASE: Final = column("Phase", ".status.phase")
# `integer` cuts the fraction off: 33 and not 33.33333.
PROGRESS: Final = column("Progress%", ".status.progress.percent", "integer", about="How far the running stage is.")
AGE: Final = column("Age", ".metadata.creationTimestamp", "date")
WHY: Final = (
    column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
    column("Message", '.status.conditions[?(@.type=="Ready")].message', wide=True),
)


@dataclass(frozen=True)
class Kind:
    """What the API server is told about a kind beside its fields."""

    kind: str
    plural: str
    spec: type[ApiModel]
    status: type[ApiModel]
    about: str
    columns: tuple[Column, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ("kaon",)
    rules: tuple[Rule, ...] = NAME_RULES
    scale: bool = False


KINDS: Final = (
    Kind(
        "Dataset",
        "datasets",
        DatasetSpec,
        DatasetStatus,
        "Dataset turns raw files into a versioned, checked, split dataset that training may trust.",
        (
            PHASE,
            PROGRESS,
            column("Train", ".status.rows.train", "integer", about="Rows to train on."),
            column("Test", ".status.rows.test", "integer", about="Rows held out."),
            column("Version", ".status.version"),
            AGE,
            *WHY,
        ),
        ("dset",),
    ),
    Kind(
        "TrainingRun",
        "trainingruns",
        TrainingRunSpec,
        TrainingRunStatus,
        "TrainingRun turns a Dataset and a base model into a trained, evaluated, exported model.",
        (
            PHASE,
            PROGRESS,
            column(
                "ETA", ".status.progress.etaSeconds", "integer", wide=True, about="Seconds to the end of the stage."
            ),
            column("Quality", ".status.display.quality", about="On the test split."),
            AGE,
            column("Dataset", ".spec.datasetRef.name", wide=True),
            *WHY,
        ),
        ("trun",),
    ),
    Kind(
        "CompressionJob",
        "compressionjobs",
        CompressionJobSpec,
        CompressionJobStatus,
        "CompressionJob finds the smallest or fastest form of a model that keeps a promise, with the evidence.",
        (
            PHASE,
            PROGRESS,
            column("Verdict", ".status.verdict"),
            column("Smaller", ".status.display.smaller", about="Baseline bytes / bytes of the chosen model."),
            column("Faster", ".status.display.faster", about="Baseline p50 / p50 of the chosen model."),
            column("Quality", ".status.display.quality", about="Of the chosen model, on the test split."),
            AGE,
            column("Model", ".spec.modelRef.name", wide=True),
            column("Chosen", ".status.chosen", wide=True),
            *WHY,
        ),
        ("cjob",),
    ),
    Kind(
        "ModelDeployment",
        "modeldeployments",
        ModelDeploymentSpec,
        ModelDeploymentStatus,
        "ModelDeployment serves a model that has evidence behind a router, and replaces it only by one that is ready.",
        (
            PHASE,
            column("Ready", ".status.readyReplicas", "integer", about="Replicas that answer."),
            column("Replicas", ".status.replicas", "integer"),
            column("Revision", ".status.stable.revision"),
            column("URL", ".status.url"),
            AGE,
            column("Server", ".status.stable.server", wide=True),
            column("Model", ".spec.modelRef.name", wide=True),
            *WHY,
        ),
        ("mdep",),
        scale=True,
    ),
    Kind(
        "Report",
        "reports",
        ReportSpec,
        ReportStatus,
        "Report tells a stage's pod what to do, and is its channel back to the resource. The operator writes its spec, "
        "the pod its status, users nothing.",
        (
            column("Stage", ".spec.stage"),
            PROGRESS,
            column("Pod", ".status.pod", wide=True),
            column("Error", ".status.error.reason"),
            AGE,
        ),
        categories=(),
        rules=REPORT_RULES,
    ),
)


class _WithRules(GenerateJsonSchema):
    """pydantic's generator, with each model's CEL rules beside its fields."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        rules: Iterable[Rule] = getattr(schema["cls"], "cel_rules", ())
        if rules:
            made["x-kubernetes-validations"] = [rule._asdict() for rule in rules]
        return made


def structural(model: type[ApiModel]) -> dict[str, Any]:
    """The structural schema of a model."""
    source = model.model_json_schema(by_alias=True, schema_generator=_WithRules)
    return _translate(source, source.get("$defs", {}))


# What both dialects have, in the order in which it is written.
_KEPT: Final = ("format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems")
_KEPT_MAPS: Final = ("minProperties", "maxProperties")


def _translate(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    node = _resolved(node, defs)
    made: dict[str, Any] = {}
    description = _description(node)
    if description:
        made["description"] = description
    if node.get("x-kubernetes-int-or-string"):
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    else:
        made["type"] = node["type"]
    made |= {key: node[key] for key in (*_KEPT, *_KEPT_MAPS) if key in node}
    if "const" in node:
        made["enum"] = [node["const"]]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in node:  # a number in JSON Schema, a flag beside the bound in OpenAPI 3.0
            made |= {bound: node[exclusive], exclusive: True}
    if "properties" in node:
        if node.get("required"):
            made["required"] = sorted(node["required"])
        made["properties"] = {name: _translate(child, defs) for name, child in node["properties"].items()}
    if isinstance(node.get("additionalProperties"), dict):
        made["additionalProperties"] = _translate(node["additionalProperties"], defs)
        # A map that is merged by key turns into null when server-side apply empties it, and null is refused.
        made["x-kubernetes-map-type"] = "atomic"
    if "items" in node:
        made["items"] = _translate(node["items"], defs)
    made |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    return made


def _resolved(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """The node without `$ref` and without `anyOf [X, null]`; what stands beside a reference wins over its target."""
    while True:
        if "$ref" in node:
            beside = {key: value for key, value in node.items() if key != "$ref"}
            node = defs[node["$ref"].removeprefix("#/$defs/")] | beside
            continue
        choices = [choice for choice in node.get("anyOf", ()) if choice != {"type": "null"}]
        if len(choices) != 1:
            return node
        node = choices[0] | {key: value for key, value in node.items() if key != "anyOf"}


def _description(node: dict[str, Any]) -> str:
    """The model's own words, and the default when it is a plain value."""
    text = " ".join(node.get("description", "").split())
    default = node.get("default")
    if default is None or isinstance(default, dict | list):
        return text
    if isinstance(default, bool):
        said = str(default).lower()
    elif isinstance(default, float):
        said = f"{Decimal(repr(default)).normalize():f}"
    else:
        said = str(default)
    return f"{text} Default: {said}.".strip()


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    names: dict[str, Any] = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.kind.lower(),
    }
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    if kind.categories:
        names["categories"] = list(kind.categories)
    root: dict[str, Any] = {
        "description": kind.about,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(kind.spec),
            "status": structural(kind.status),
        },
    }
    if kind.rules:
        root["x-kubernetes-validations"] = [rule._asdict() for rule in kind.rules]
    subresources: dict[str, Any] = {"status": {}}
    if kind.scale:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": list(kind.columns),
        "subresources": subresources,
        "schema": {"openAPIV3Schema": root},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "kaon"}},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


class _Dumper(yaml.SafeDumper):
    """Writes every value in full: the shared printer columns would else become anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def files() -> dict[str, str]:
    """The text of every file of crds/, by name."""
    return {
        f"{GROUP}_{kind.plural}.yaml": HEADER
        + yaml.dump(crd(kind), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
        for kind in KINDS
    }


def main() -> int:
    """Writes crds/, or says which of its files are not what the models say."""
    parser = argparse.ArgumentParser(prog="python -m kaon.api.schema", description="Generate the CRDs from the models.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file differs")
    parser.add_argument("--to", type=Path, default=Path("crds"), help="folder of the CRDs (default: crds)")
    options = parser.parse_args()
    wanted = files()
    found = {file.name: file.read_text() for file in options.to.glob("*.yaml")}
    different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if options.check:
        for name in different:
            print(f"{options.to / name} is not what the models say: run `python -m kaon.api.schema`", file=sys.stderr)
        return 1 if different else 0
    options.to.mkdir(parents=True, exist_ok=True)
    for name in different:
        file = options.to / name
        if name in wanted:
            file.write_text(wanted[name])
        else:
            file.unlink()
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
