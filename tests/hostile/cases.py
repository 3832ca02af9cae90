"""Every hostile input is a function of (seed, index): what is sent, and what must become of it. Pure.

A class says what kind of wrong it is; `expects` says what the API server must do: "accepted" (all is well with it),
"refused" (one thing is wrong that the schema says, and the message must name `field`), "any" (either, but with a word).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hostile import envelopes, specs, texts
from hostile.drafts import JSON, Draft, json_of, object_of, valid_object
from hostile.schema import Kind, Object, Site, at, kinds, replaced, sites, user_kinds
from hostile.values import draw


@dataclass(frozen=True)
class Case:
    """One input."""

    seed: int
    index: int
    klass: str
    what: str
    """What is wrong with it, for people."""
    kind: str
    name: str
    body: bytes
    media: str = JSON
    strict: bool = True
    """Whether unknown and duplicate fields are to be refused; kubectl asks for that, other clients do not."""
    expects: str = "any"
    field: str = ""
    """Part of the refusal's message, where the refusal is certain."""
    report: bytes = b""
    """For the class "report": the status that a stage's pod writes into the Report of this resource."""

    @property
    def again(self) -> str:
        """How to see this one again."""
        return f"python tests/hostile --seed {self.seed} --index {self.index}"


def make(seed: int, index: int) -> Case:
    """The case of a seed and an index."""
    rng = random.Random(f"{seed}:{index}")
    klass = rng.choices(list(_CLASSES), [weight for weight, _ in _CLASSES.values()])[0]
    kind = rng.choice(user_kinds())
    draft = _CLASSES[klass][1](kind, f"h{index}", rng)
    return Case(seed=seed, index=index, klass=klass, **{"kind": kind.name, "name": f"h{index}", **draft})


# -- valid, and valid but for one thing --------------------------------------------------------------------------------


def _valid(kind: Kind, name: str, rng: random.Random) -> Draft:
    obj = valid_object(kind, name, rng, often=rng.choice((0.2, 0.5, 0.9)))
    return {"what": "nothing", "body": json_of(obj), "expects": "accepted"}


def _nearly(kind: Kind, name: str, rng: random.Random) -> Draft:
    obj = valid_object(kind, name, rng, often=0.6)
    ways = [(site, way) for site in _checked(kind, obj) for way in _breaks(site)]
    site, (what, value) = rng.choice(ways)
    field = str(site)
    if what == "unknown field":
        made = copy.deepcopy(obj)
        at(made, site.path)[value] = 1
        field = f"{site}.{value}"
    elif what == "missing":
        made = copy.deepcopy(obj)
        del at(made, site.path)[value]
        field = f"{site}.{value}"
    else:
        made = replaced(obj, site.path, value)
    return {"what": f"{site}: {what}", "body": json_of(made), "expects": "refused", "field": field}


def _checked(kind: Kind, obj: Object) -> list[Site]:
    """The values whose schema is the whole truth: none below a field where anything goes."""
    found = [site for site in sites(obj["spec"], kind.spec, ("spec",)) if site.schema.get("type")]
    return [site for site in found if not site.schema.get("x-kubernetes-preserve-unknown-fields")]


def _breaks(site: Site) -> list[tuple[str, Any]]:
    """(what is wrong, the value) for each way to break a value."""
    schema, kind = site.schema, site.schema["type"]
    wrong = {"string": 5, "boolean": "yes", "integer": "7", "number": "0.5", "array": {"0": 1}, "object": ["a"]}
    found: list[tuple[str, Any]] = [("wrong type", wrong[kind])]
    if "enum" in schema:
        found.append(("not in enum", "no-such-value"))
    if "pattern" in schema:
        found.append(("pattern", "Not A Match\n"))
    if "maxLength" in schema:
        found.append(("too long", "a" * (schema["maxLength"] + 1)))
    if schema.get("minLength"):
        found.append(("too short", ""))
    if "minimum" in schema:
        found.append(("too small", schema["minimum"] - (0 if schema.get("exclusiveMinimum") else 1)))
    if "maximum" in schema:
        found.append(("too large", schema["maximum"] + (0 if schema.get("exclusiveMaximum") else 1)))
    if kind == "integer":
        found.append(("a fraction", 1.5))
    if schema.get("minItems"):
        found.append(("too few", []))
    if "properties" in schema:
        found.append(("unknown field", "unheardOf"))
        found += [("missing", name) for name in schema.get("required", ())]
    return found


# -- what a stage's pod may write -------------------------------------------------------------------------------------


def _report(kind: Kind, name: str, rng: random.Random) -> Draft:
    """A well-meant Dataset, and a status in its Report that nobody meant well."""
    schema = kinds()["Report"].status
    status = draw(schema, rng, often=rng.choice((0.3, 0.6, 0.9)))
    places = [site for site in sites(status, schema, ("status",)) if site.schema.get("type") not in ("object", "array")]
    what = "drawn from the schema"
    said: Object = {"status": status}
    if places and rng.random() < 0.7:
        site = rng.choice(places)
        value = rng.choice(texts.TEXTS if site.schema.get("type") == "string" else texts.NUMBERS)
        what = f"{site}: {str(value)[:24]!r}"
        said = replaced(said, site.path, value)
    dataset = kinds()["Dataset"]
    spec = {
        "task": "text-classification",
        "sources": [{"uri": "s3://bucket/rows.csv"}],
        "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
        "quality": {"minRows": 1},
    }
    body = json_of(object_of(dataset, name, spec))
    return {"what": f"Report {what}", "body": body, "report": json_of(said), "kind": "Dataset"}


_CLASSES: dict[str, tuple[int, Callable[[Kind, str, random.Random], Draft]]] = {
    "valid": (20, _valid),
    "nearly valid": (22, _nearly),
    "pod template": (16, specs.template),
    "texts": (10, specs.texts_of),
    "numbers": (8, specs.numbers),
    "shapes": (5, specs.shapes),
    "huge": (2, specs.huge),
    "encodings": (6, envelopes.encodings),
    "metadata": (7, envelopes.metadata),
    "report": (4, _report),
}
