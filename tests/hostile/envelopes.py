"""Wrong envelopes: encodings that are none, and metadata that lies. Pure."""

from __future__ import annotations

import json
import random
from typing import Any

from hostile import texts
from hostile.drafts import JSON, RAW, YAML, Draft, json_of, valid_object
from hostile.schema import API_VERSION, Kind, Object

# -- encodings --------------------------------------------------------------------------------------------------------

_BOMB = "\n".join(
    ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    + [f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
)


def encodings(kind: Kind, name: str, rng: random.Random) -> Draft:
    """Bytes that are no JSON or YAML, or not what their media type says."""
    obj = valid_object(kind, name, rng)
    good = json_of(obj)
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
        "a List": (json_of({"apiVersion": "v1", "kind": "List", "items": [obj]}), JSON),
    }
    what = rng.choice(list(ways))
    body, media = ways[what]
    return {"what": what, "body": body, "media": media, "strict": rng.random() < 0.5}


def _indented(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in text.splitlines())


# -- metadata ---------------------------------------------------------------------------------------------------------


def metadata(kind: Kind, name: str, rng: random.Random) -> Draft:
    """What stands beside the spec."""
    obj = valid_object(kind, name, rng)
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
            "body": json_of({**obj, "metadata": {**obj["metadata"], **changed}}),
        }
    others: dict[str, Any] = {
        "status": {"status": {"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "True"}], "x": 1}},
        "kind": {"kind": rng.choice(("Secret", "Pod", "dataset", "", "Report"))},
        "apiVersion": {"apiVersion": rng.choice(("v1", "kaon.dev/v1", "kaon.dev/v9", "kaon.dev/../v1", ""))},
        "no metadata": {"metadata": rng.choice((None, {}, [], "x"))},
        "top level": {"unheardOf": {"a": 1}, "data": {"a": "b"}},
    }
    return {"what": f"object: {what}", "body": json_of({**obj, **others[what]}), "strict": rng.random() < 0.5}


def _deep_fields(obj: Object, rng: random.Random) -> Draft:
    """The one free-form place that every object has: a client may send what is said to be managed, however deep."""
    depth = rng.choice((300, 1100, 3000, 9900))
    entry = {
        **{"manager": "mine", "operation": "Update", "apiVersion": API_VERSION, "time": "2026-01-01T00:00:00Z"},
        **{"fieldsType": "FieldsV1", "fieldsV1": {"f:spec": RAW}},
    }
    made = {**obj, "metadata": {**obj["metadata"], "managedFields": [entry]}}
    deep = '{"f:a":' * depth + "{}" + "}" * depth
    body = json_of(made).replace(f'"{RAW}"'.encode(), deep.encode())
    return {"what": f"metadata: managedFields {depth} levels deep", "body": body}
