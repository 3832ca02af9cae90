"""Keeps docs/spec true: writes examples and tables of fields, made from the models, between the pages' markers.

    python docs/spec/fields.py [--check]

A page holds `<!-- example: FILE -->`, `<!-- fields: KIND.spec -->`, `<!-- fields: KIND.status -->` or
`<!-- variables: allowed -->`, and after each `<!-- end -->`. Touches nothing else in the page. Parts that several kinds
share are listed once, in shared.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kaon.api.affinity import Affinity
from kaon.api.common import StageSpec, StageStatus
from kaon.api.environment import GROUPS
from kaon.api.evaluation import Evaluation
from kaon.api.podtemplate import PodTemplate
from kaon.api.schema import KINDS, structural
from kaon.api.types import LARGEST

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
Schema = dict[str, Any]

PARTS = {f"{kind.kind}.{part}": getattr(kind, part) for kind in KINDS for part in ("spec", "status")} | {
    "Shared.spec": StageSpec,
    "Shared.status": StageStatus,
    "Shared.podTemplate": PodTemplate,
    "Shared.affinity": Affinity,
    "Shared.evaluation": Evaluation,
}
SHARED_PARTS = {
    "podTemplate": "pod-template",
    "router": "pod-template",
    "affinity": "affinity",
    "evaluation": "evaluation",
    "baseline": "evaluation",
}
"""Objects that have a table of their own in shared.md, with its heading."""
_MARKED = re.compile(r"<!-- (example|fields|variables): (\S+) -->\n.*?<!-- end -->", re.DOTALL)


def rendered(page: str) -> str:
    """The page with what stands between its markers made anew."""

    def fill(found: re.Match[str]) -> str:
        kind, name = found.groups()
        body = {"example": example, "fields": table, "variables": variables}[kind](name)
        return f"<!-- {kind}: {name} -->\n{body}\n<!-- end -->"

    return _MARKED.sub(fill, page)


def variables(_: str) -> str:
    """The variables that a pod template may set, by their beginnings."""
    rows = (f"| `{start}…` | {', '.join(f'`{start}{end}`' for end in ends)} |" for start, ends in GROUPS.items())
    return "\n".join(("| Of | Variables |", "| --- | --- |", *rows))


def example(name: str) -> str:
    """A file of the repository as a code block."""
    return f"```yaml\n{(ROOT / name).read_text().strip()}\n```"


def table(name: str) -> str:
    """The fields of a part, with their types, bounds and descriptions."""
    schema = structural(PARTS[name])
    shared = set(structural(StageSpec if name.endswith("spec") else StageStatus)["properties"])
    rows = [
        f"| `{path}` | {_type(field)} | {_about(field, required)} |"
        for path, field, required in _rows(schema)
        if name.startswith("Shared.") or path.split(".")[0] not in shared
    ]
    return "\n".join(["| Field | Type | What it says |", "| --- | --- | --- |", *rows])


def _rows(schema: Schema, at: str = "") -> Iterator[tuple[str, Schema, bool]]:
    fields: dict[str, Schema] = schema.get("properties", {})
    for name, field in fields.items():
        path = f"{at}{name}"
        required = name in schema.get("required", ())
        if field.get("type") == "object" and name in SHARED_PARTS and "properties" in field:
            link = f"[Its fields](shared.md#{SHARED_PARTS[name]})."
            yield path, {"type": "object", "description": f"{field.get('description', '')} {link}".strip()}, required
            continue
        twin = next(other for other, one in fields.items() if one.get("properties") == field.get("properties"))
        if "properties" in field and twin != name:
            said = f"{field.get('description', '')} With the fields of `{at}{twin}`."
            yield path, {"type": "object", "description": said.strip()}, required
            continue
        yield path, field, required
        yield from _rows(field, f"{path}.")
        yield from _rows(field.get("items", {}), f"{path}[].")


def _type(field: Schema) -> str:
    if "anyOf" in field:
        return "quantity"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "items" in field:
        low, high = field.get("minItems", 0), field["maxItems"]
        return f"list of {_type(field['items'])}, {f'{low} to {high}' if low else f'at most {high}'}"
    if "additionalProperties" in field:
        return f"map of {_type(field['additionalProperties'])}, at most {field['maxProperties']}"
    bounds = _bounds(field)
    return f"{field['type']}{f' {bounds}' if bounds else ''}"


def _bounds(field: Schema) -> str:
    parts = []
    # The largest number there may be at all says nothing of a field.
    if field.get("minimum", -LARGEST) > -LARGEST:
        parts.append(f"{'>' if field.get('exclusiveMinimum') else '≥'} {_number(field['minimum'])}")
    if field.get("maximum", LARGEST) < LARGEST:
        parts.append(f"{'<' if field.get('exclusiveMaximum') else '≤'} {_number(field['maximum'])}")
    if "pattern" not in field and field.get("type") == "string" and "maxLength" in field:
        parts.append(f"≤ {field['maxLength']} characters")
    return ", ".join(parts)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _about(field: Schema, required: bool) -> str:
    said = field.get("description", "").replace("|", "\\|")
    return " ".join(part for part in ("**Required.**" if required else "", said) if part)


def main() -> int:
    """Writes the pages, or says which are not what the models say."""
    parser = argparse.ArgumentParser(description="Write the tables of fields in docs/spec.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page differs")
    options = parser.parse_args()
    stale = [page for page in sorted(HERE.glob("*.md")) if rendered(page.read_text()) != page.read_text()]
    for page in stale:
        if options.check:
            print(f"{page.relative_to(ROOT)} is stale: run `python docs/spec/fields.py`", file=sys.stderr)
        else:
            page.write_text(rendered(page.read_text()))
            print(page.relative_to(ROOT))
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
