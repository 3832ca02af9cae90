"""Every hostile input is a function of (seed, index): what is sent, and what must become of it. Pure.

A class says what kind of wrong it is; `expects` says what the API server must do: "accepted" (all is well with it),
"refused" (one thing is wrong that the schema says, and the message must name `field`), "any" (either, but with a word).
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hostile import texts
from hostile.schema import API_VERSION, Kind, Object, Site, at, kinds, replaced, sites, user_kinds
from hostile.values import draw, draw_spec

JSON = "application/json"
YAML = "application/yaml"
RAW = "%RAW%"


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


Draft = dict[str, Any]


def _object(kind: Kind, name: str, spec: Any, **metadata: Any) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind.name, "metadata": {"name": name, **metadata}, "spec": spec}


def _json(obj: Any) -> bytes:
    return json.dumps(obj, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _set(obj: Object, path: tuple[str | int, ...], value: Any) -> Draft:
    return {"body": _json(replaced(obj, path, value))}


def _valid_object(kind: Kind, name: str, rng: random.Random, often: float = 0.35) -> Object:
    return _object(kind, name, draw_spec(kind.name, kind.spec, rng, often))


# -- valid, and valid but for one thing --------------------------------------------------------------------------------


def _valid(kind: Kind, name: str, rng: random.Random) -> Draft:
    obj = _valid_object(kind, name, rng, often=rng.choice((0.2, 0.5, 0.9)))
    return {"what": "nothing", "body": _json(obj), "expects": "accepted"}


def _nearly(kind: Kind, name: str, rng: random.Random) -> Draft:
    obj = _valid_object(kind, name, rng, often=0.6)
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
    return {"what": f"{site}: {what}", "body": _json(made), "expects": "refused", "field": field}


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


# -- what a schema cannot know ----------------------------------------------------------------------------------------


def _template(kind: Kind, name: str, rng: random.Random) -> Draft:
    obj = _valid_object(kind, name, rng)
    place = rng.choice(("podTemplate", "router")) if kind.name == "ModelDeployment" else "podTemplate"
    field = rng.choice(list(_TEMPLATES))
    template = {**obj["spec"].get(place, {}), field: _TEMPLATES[field](rng)}
    if kind.name == "ModelDeployment":
        obj["spec"]["modelRef"]["name"] = {"CompressionJob": "ready-c", "TrainingRun": "ready-t"}[
            obj["spec"]["modelRef"]["kind"]
        ]
    return {"what": f"{place}.{field}", **_set(obj, ("spec", place), template)}


def _bad_resources(rng: random.Random) -> Any:
    amounts = {rng.choice(texts.RESOURCES): rng.choice(texts.QUANTITIES) for _ in range(rng.randint(1, 3))}
    return rng.choice(
        (
            {"limits": amounts},
            {"requests": amounts},
            {"limits": {"memory": "1Gi"}, "requests": {"memory": "2Gi"}},
            {"requests": {"nvidia.com/gpu": 1}},
            {"limits": {"nvidia.com/gpu": "0.5"}},
            {"limits": {"cpu": -1}},
            {"limits": {f"example.com/r{number}": 1 for number in range(16)}},
        )
    )


def _bad_volumes(rng: random.Random) -> Any:
    def volume(number: int) -> Object:
        claim = rng.choice(("claim", *texts.NAMES_OF_OTHERS))
        return {"name": f"v{number}", "persistentVolumeClaim": claim, "mountPath": rng.choice(texts.MOUNTS)}

    same = {"persistentVolumeClaim": "claim", "mountPath": "/mnt/a"}
    return rng.choice(
        (
            [volume(number) for number in range(rng.randint(1, 3))],
            [{"name": "a", **same}, {"name": "b", **same}],
            [{"name": "a" * 62 + "x", **same}, {"name": "a" * 62 + "y", **same, "mountPath": "/mnt/b"}],
            [{"name": "a" * 56 + "-" + "b" * 6, **same}],
            [{"name": "a", "hostPath": {"path": "/"}, "mountPath": "/mnt/a"}],
            [{"name": "a", **same, "subPath": "../.."}],
        )
    )


def _bad_affinity(rng: random.Random) -> Any:
    return rng.choice(
        (
            {"nodeAffinity": "yes"},
            {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
            {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ""}]}},
            {"unheardOf": {"a": [1, 2.5, None, True, "x"]}},
            {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10**20}]}},
            {"a": 10**20},
            {"a": 1e300},
            {"": {"": {"": {}}}},
            texts.wide(2000),
            {"text": rng.choice(texts.TEXTS)},
        )
    )


_TEMPLATES: dict[str, Callable[[random.Random], Any]] = {
    "resources": _bad_resources,
    "nodeSelector": lambda rng: dict(rng.sample(texts.LABELS, rng.randint(1, 2))),
    "tolerations": lambda rng: rng.sample(texts.TOLERATIONS, rng.randint(1, 3)),
    "affinity": _bad_affinity,
    "volumes": _bad_volumes,
    "env": lambda rng: [
        {"name": name, "value": rng.choice(texts.TEXTS)} for name in rng.sample(texts.VARIABLES, rng.randint(1, 5))
    ],
    "runtimeClassName": lambda rng: rng.choice(texts.NAMES_OF_OTHERS),
    "priorityClassName": lambda rng: rng.choice(texts.NAMES_OF_OTHERS),
    "serviceAccountName": lambda rng: rng.choice(texts.NAMES_OF_OTHERS),
    "imagePullSecrets": lambda rng: [{"name": rng.choice(texts.NAMES_OF_OTHERS)}],
    **{
        name: lambda rng: True
        for name in ("hostNetwork", "hostPID", "hostIPC", "privileged", "automountServiceAccountToken")
    },
    "securityContext": lambda rng: {"runAsUser": 0, "privileged": True},
    "containers": lambda rng: [{"name": "mine", "image": "mine", "command": ["sh"]}],
    "image": lambda rng: "evil.example/mine:latest",
    "nodeName": lambda rng: "control-plane",
    "schedulerName": lambda rng: "mine",
}


# -- texts, numbers and shapes -----------------------------------------------------------------------------------------


def _texts(kind: Kind, name: str, rng: random.Random) -> Draft:
    obj = _valid_object(kind, name, rng, often=0.6)
    places = [site for site in sites(obj["spec"], kind.spec, ("spec",)) if site.schema.get("type") == "string"]
    uris = [site for site in places if "://" in site.schema.get("pattern", "")]
    if uris and rng.random() < 0.4:
        site = rng.choice(uris)
        return {"what": f"{site}: a URI", **_set(obj, site.path, rng.choice(texts.URIS))}
    site = rng.choice(places)
    return {"what": f"{site}: a text", **_set(obj, site.path, rng.choice(texts.TEXTS))}


def _numbers(kind: Kind, name: str, rng: random.Random) -> Draft:
    obj = _valid_object(kind, name, rng, often=0.8)
    places = list(sites(obj["spec"], kind.spec, ("spec",)))
    numeric = [site for site in places if site.schema.get("type") in ("integer", "number", "boolean")]
    site = rng.choice(numeric or places[1:])
    value = rng.choice(texts.NUMBERS)
    return {"what": f"{site}: {str(value)[:24]!r}", **_set(obj, site.path, value)}


def _shapes(kind: Kind, name: str, rng: random.Random) -> Draft:
    """A field of another shape than it should have, often a very deep or very wide one."""
    obj = _valid_object(kind, name, rng, often=0.6)
    obj["spec"].setdefault("podTemplate", {})["affinity"] = {}
    places = [site.path for site in sites(obj["spec"], kind.spec, ("spec",))]
    path = rng.choice(([("spec", "podTemplate", "affinity")] * 2) + [("spec", "unheardOf"), rng.choice(places)])
    depth = rng.choice((10, 100, 250, 260, 500, 1000, 1100, 3000, 9990, 20_000))
    value, what = rng.choice(
        ((RAW, f"{depth} levels deep"), (texts.wide(5000), "5,000 fields"), ([[]] * 5000, "lists"))
    )
    body = _json(replaced(obj, path, value))
    text = texts.nested(depth, rng)
    if not text.startswith("["):
        text = '{"x":' + text + "}"
    return {"what": f"{'.'.join(map(str, path))}: {what}", "body": body.replace(f'"{RAW}"'.encode(), text.encode()),
            "strict": rng.random() < 0.5}  # fmt: skip


# -- size -------------------------------------------------------------------------------------------------------------


def _huge(kind: Kind, name: str, rng: random.Random) -> Draft:
    obj = _valid_object(kind, name, rng, often=0.6)
    way = rng.choice(("text", "annotation", "label", "affinity", "list", "spaces", "everything", "classes"))
    if way == "text":
        places = [site for site in sites(obj["spec"], kind.spec, ("spec",)) if site.schema.get("type") == "string"]
        return {"what": "a megabyte in a string", **_set(obj, rng.choice(places).path, texts.long_text(rng))}
    if way == "list":
        places = [site for site in sites(obj["spec"], kind.spec, ("spec",)) if site.schema.get("type") == "array"]
        if places:
            site = rng.choice(places)
            many = (at(obj, site.path) or ["x"]) * 20_000
            return {"what": f"{site}: 20,000 items", **_set(obj, site.path, many[:20_000])}
    if way == "affinity":
        obj["spec"].setdefault("podTemplate", {})["affinity"] = {"x": "a" * rng.choice((100_000, 700_000, 1_300_000))}
    elif way == "spaces":
        return {"what": "four megabytes of white space", "body": b" " * 4_000_000 + _json(obj)}
    elif way == "everything":
        return {"what": "every field at its largest", "body": _json(_object(kind, name, _largest(kind, rng)))}
    elif way == "classes" and kind.name == "Dataset":
        obj["spec"]["schema"]["label"]["classes"] = [f"{number:04}" + "数" * 252 for number in range(1000)]
    elif way == "label":
        obj["metadata"]["labels"] = {f"l{number}": "v" * 63 for number in range(2000)}
    else:
        size = rng.choice((200_000, 300_000))
        obj["metadata"]["annotations"] = {"note": "n" * size}
    return {"what": way, "body": _json(obj)}


def _largest(kind: Kind, rng: random.Random) -> Object:
    spec = draw_spec(kind.name, kind.spec, rng, often=1.0)
    named = ("persistentVolumeClaim", "mountPath", "runtimeClassName", "priorityClassName")
    for site in list(sites(spec, kind.spec, ("spec",))):
        free = site.schema.get("type") == "string" and "maxLength" in site.schema and "pattern" not in site.schema
        if free and site.path[-1] not in named:
            at({"spec": spec}, site.path[:-1])[site.path[-1]] = "ü" * site.schema["maxLength"]
    return spec


# -- encodings --------------------------------------------------------------------------------------------------------

_BOMB = "\n".join(
    ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    + [f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
)


def _encodings(kind: Kind, name: str, rng: random.Random) -> Draft:
    obj = _valid_object(kind, name, rng)
    good = _json(obj)
    head = f"apiVersion: {API_VERSION}\nkind: {kind.name}\nmetadata: {{name: {name}}}\n"
    spec = f"spec: {json.dumps(obj['spec'])}\n"
    # Not protobuf: no kind of a CRD has it, and Kubernetes 1.35 closes the connection instead of saying so.
    ways: dict[str, tuple[bytes, str]] = {
        "a YAML bomb in spec": (f"{head}spec:\n  x:\n{_indented(_BOMB, 4)}\n".encode(), YAML),
        "a YAML bomb beside spec": (f"{_BOMB}\n{head}{spec}".encode(), YAML),
        "a YAML anchor that holds itself": (f"{head}spec: &s\n  podTemplate:\n    affinity: *s\n".encode(), YAML),
        "a YAML tag": (f"{head}spec: !!python/object/apply:os.system ['id']\n".encode(), YAML),
        "YAML merge keys": (f"{head}x: &x {{suspend: true}}\nspec:\n  <<: *x\n".encode(), YAML),
        "YAML that is good": (f"{head}{spec}".encode(), YAML),
        "two YAML documents": (f"{head}{spec}---\n{head}{spec}".encode(), YAML),
        "YAML with duplicate keys": (f"{head}{spec}{spec}".encode(), YAML),
        "YAML with tabs": (f"{head}spec:\n\ttask: x\n".encode(), YAML),
        "YAML with numbers as keys": (f"{head}spec: {{1: 2, true: false, null: x, ~: y}}\n".encode(), YAML),
        "deep YAML flow": (f"{head}spec: {'[' * 5000}{']' * 5000}\n".encode(), YAML),
        "duplicate keys": (good[:-1] + b', "spec": {}}', JSON),
        "duplicate keys in spec": (good.replace(b'"spec": {', b'"spec": {"suspend": true, "suspend": false, '), JSON),
        "NaN": (good.replace(b'"spec": {', b'"spec": {"backoffLimit": NaN, '), JSON),
        "Infinity": (good.replace(b'"spec": {', b'"spec": {"backoffLimit": Infinity, '), JSON),
        "a number that overflows": (good.replace(b'"spec": {', b'"spec": {"backoffLimit": 1e999, '), JSON),
        "a lone surrogate": (good.replace(b'"spec": {', b'"spec": {"rerun": "\\ud800", '), JSON),
        "bytes that are not UTF-8": (good.replace(b'"spec": {', b'"spec": {"rerun": "\xff\xfe", '), JSON),
        "a byte order mark": (b"\xef\xbb\xbf" + good, JSON),
        "half of it": (good[: len(good) // 2], JSON),
        "nothing": (b"", JSON),
        "null": (b"null", JSON),
        "a list": (b"[" + good + b"]", JSON),
        "JSON called YAML": (good, YAML),
        "YAML called JSON": (f"{head}{spec}".encode(), JSON),
        "an unknown media type": (good, "text/html"),
        "comments": (b"// hello\n" + good, JSON),
        "a List": (_json({"apiVersion": "v1", "kind": "List", "items": [obj]}), JSON),
    }
    what = rng.choice(list(ways))
    body, media = ways[what]
    return {"what": what, "body": body, "media": media, "strict": rng.random() < 0.5}


def _indented(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in text.splitlines())


# -- metadata ---------------------------------------------------------------------------------------------------------


def _metadata(kind: Kind, name: str, rng: random.Random) -> Draft:
    obj = _valid_object(kind, name, rng)
    fake = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "name": "kube-system",
        "uid": "0" * 8 + "-0000-0000-0000-" + "0" * 12,
    }
    ways: dict[str, Any] = {
        "name": lambda: {"name": rng.choice(texts.TEXTS)},
        "longest name": lambda: {"name": name + "a" * (40 - len(name))},
        "name too long": lambda: {"name": name + "a" * 41},
        "generateName": lambda: {"name": "", "generateName": rng.choice(texts.TEXTS)},
        "namespace": lambda: {"namespace": rng.choice(("kube-system", "..", "other", ""))},
        "ownerReferences": lambda: {"ownerReferences": [{**fake, "controller": rng.random() < 0.5}]},
        "finalizers": lambda: {"finalizers": [rng.choice(("kaon.dev/mine", "orphan", "x", "a b", ""))]},
        "uid": lambda: {"uid": "not-a-uid", "generation": -1, "selfLink": "/x"},
        "deletionTimestamp": lambda: {"deletionTimestamp": "2020-01-01T00:00:00Z", "deletionGracePeriodSeconds": 1},
        "managedFields": lambda: {"managedFields": [{"manager": "kaon", "operation": "Apply", "fieldsV1": {"x": {}}}]},
        "labels of Kaon": lambda: {
            "labels": {
                "app.kubernetes.io/managed-by": "kaon",
                "kaon.dev/owner-uid": "x",
                "kaon.dev/owner": "other",
                "kaon.dev/owner-kind": "Dataset",
            }
        },
        "queue": lambda: {"labels": {"kueue.x-k8s.io/queue-name": rng.choice(("q", "", "a b", "q" * 64))}},
        "label": lambda: {"labels": dict([rng.choice(texts.LABELS)])},
        "annotations": lambda: {"annotations": {"kaon.dev/applied": "0", "kaon.dev/revision-spec": "{"}},
        "annotation of the wrong type": lambda: {"annotations": {"a": 1}},
        "annotation text": lambda: {"annotations": {"a": rng.choice(texts.TEXTS)}},
        "unknown": lambda: {"unheardOf": True},
    }  # fmt: skip
    if rng.random() < 0.15:
        return _deep_fields(obj, rng)
    what = rng.choice([*ways, "status", "kind", "apiVersion", "no metadata", "top level"])
    if what in ways:
        changed = ways[what]()
        draft: Draft = {"name": changed.get("name") or name}
        return {
            **draft,
            "what": f"metadata: {what}",
            "body": _json({**obj, "metadata": {**obj["metadata"], **changed}}),
        }
    others: dict[str, Any] = {
        "status": {"status": {"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "True"}], "x": 1}},
        "kind": {"kind": rng.choice(("Secret", "Pod", "dataset", "", "Report"))},
        "apiVersion": {"apiVersion": rng.choice(("v1", "kaon.dev/v1", "kaon.dev/v9", "kaon.dev/../v1", ""))},
        "no metadata": {"metadata": rng.choice((None, {}, [], "x"))},
        "top level": {"unheardOf": {"a": 1}, "data": {"a": "b"}},
    }
    return {"what": f"object: {what}", "body": _json({**obj, **others[what]}), "strict": rng.random() < 0.5}


def _deep_fields(obj: Object, rng: random.Random) -> Draft:
    """The one free-form place that every object has: a client may send what is said to be managed, however deep."""
    depth = rng.choice((300, 1100, 3000, 9900))
    entry = {
        **{"manager": "mine", "operation": "Update", "apiVersion": API_VERSION, "time": "2026-01-01T00:00:00Z"},
        **{"fieldsType": "FieldsV1", "fieldsV1": {"f:spec": RAW}},
    }
    made = {**obj, "metadata": {**obj["metadata"], "managedFields": [entry]}}
    deep = '{"f:a":' * depth + "{}" + "}" * depth
    body = _json(made).replace(f'"{RAW}"'.encode(), deep.encode())
    return {"what": f"metadata: managedFields {depth} levels deep", "body": body}


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
    body = _json(_object(dataset, name, spec))
    return {"what": f"Report {what}", "body": body, "report": _json(said), "kind": "Dataset"}


_CLASSES: dict[str, tuple[int, Callable[[Kind, str, random.Random], Draft]]] = {
    "valid": (20, _valid),
    "nearly valid": (22, _nearly),
    "pod template": (16, _template),
    "texts": (10, _texts),
    "numbers": (8, _numbers),
    "shapes": (5, _shapes),
    "huge": (2, _huge),
    "encodings": (6, _encodings),
    "metadata": (7, _metadata),
    "report": (4, _report),
}
