"""Wrong specs: pod templates that Kubernetes would refuse, odd texts and numbers, other shapes, too much. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hostile import texts
from hostile.drafts import RAW, Draft, json_of, object_of, valid_object, with_value
from hostile.schema import Kind, Object, at, replaced, sites
from hostile.values import draw_spec

# -- what a schema cannot know ----------------------------------------------------------------------------------------


def template(kind: Kind, name: str, rng: random.Random) -> Draft:
    """A field of a pod template that is none, or holds what a pod cannot have."""
    obj = valid_object(kind, name, rng)
    place = rng.choice(("podTemplate", "router")) if kind.name == "ModelDeployment" else "podTemplate"
    field = rng.choice(list(_TEMPLATES))
    template = {**obj["spec"].get(place, {}), field: _TEMPLATES[field](rng)}
    if kind.name == "ModelDeployment":
        obj["spec"]["modelRef"]["name"] = {"CompressionJob": "ready-c", "TrainingRun": "ready-t"}[
            obj["spec"]["modelRef"]["kind"]
        ]
    return {"what": f"{place}.{field}", **with_value(obj, ("spec", place), template)}


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


def texts_of(kind: Kind, name: str, rng: random.Random) -> Draft:
    """A text where another one belongs."""
    obj = valid_object(kind, name, rng, often=0.6)
    places = [site for site in sites(obj["spec"], kind.spec, ("spec",)) if site.schema.get("type") == "string"]
    uris = [site for site in places if "://" in site.schema.get("pattern", "")]
    if uris and rng.random() < 0.4:
        site = rng.choice(uris)
        return {"what": f"{site}: a URI", **with_value(obj, site.path, rng.choice(texts.URIS))}
    site = rng.choice(places)
    return {"what": f"{site}: a text", **with_value(obj, site.path, rng.choice(texts.TEXTS))}


def numbers(kind: Kind, name: str, rng: random.Random) -> Draft:
    """A number that is out of range, too exact, or none."""
    obj = valid_object(kind, name, rng, often=0.8)
    places = list(sites(obj["spec"], kind.spec, ("spec",)))
    numeric = [site for site in places if site.schema.get("type") in ("integer", "number", "boolean")]
    site = rng.choice(numeric or places[1:])
    value = rng.choice(texts.NUMBERS)
    return {"what": f"{site}: {str(value)[:24]!r}", **with_value(obj, site.path, value)}


def shapes(kind: Kind, name: str, rng: random.Random) -> Draft:
    """A field of another shape than it should have, often a very deep or very wide one."""
    obj = valid_object(kind, name, rng, often=0.6)
    obj["spec"].setdefault("podTemplate", {})["affinity"] = {}
    places = [site.path for site in sites(obj["spec"], kind.spec, ("spec",))]
    path = rng.choice(([("spec", "podTemplate", "affinity")] * 2) + [("spec", "unheardOf"), rng.choice(places)])
    depth = rng.choice((10, 100, 250, 260, 500, 1000, 1100, 3000, 9990, 20_000))
    value, what = rng.choice(
        ((RAW, f"{depth} levels deep"), (texts.wide(5000), "5,000 fields"), ([[]] * 5000, "lists"))
    )
    body = json_of(replaced(obj, path, value))
    text = texts.nested(depth, rng)
    if not text.startswith("["):
        text = '{"x":' + text + "}"
    return {"what": f"{'.'.join(map(str, path))}: {what}", "body": body.replace(f'"{RAW}"'.encode(), text.encode()),
            "strict": rng.random() < 0.5}  # fmt: skip


# -- size -------------------------------------------------------------------------------------------------------------


def huge(kind: Kind, name: str, rng: random.Random) -> Draft:
    """More of it than a request may hold, or nearly so."""
    obj = valid_object(kind, name, rng, often=0.6)
    way = rng.choice(("text", "annotation", "label", "affinity", "list", "spaces", "everything", "classes"))
    if way == "text":
        places = [site for site in sites(obj["spec"], kind.spec, ("spec",)) if site.schema.get("type") == "string"]
        return {"what": "a megabyte in a string", **with_value(obj, rng.choice(places).path, texts.long_text(rng))}
    if way == "list":
        places = [site for site in sites(obj["spec"], kind.spec, ("spec",)) if site.schema.get("type") == "array"]
        if places:
            site = rng.choice(places)
            many = (at(obj, site.path) or ["x"]) * 20_000
            return {"what": f"{site}: 20,000 items", **with_value(obj, site.path, many[:20_000])}
    if way == "affinity":
        obj["spec"].setdefault("podTemplate", {})["affinity"] = {"x": "a" * rng.choice((100_000, 700_000, 1_300_000))}
    elif way == "spaces":
        return {"what": "four megabytes of white space", "body": b" " * 4_000_000 + json_of(obj)}
    elif way == "everything":
        return {"what": "every field at its largest", "body": json_of(object_of(kind, name, largest(kind, rng)))}
    elif way == "classes" and kind.name == "Dataset":
        label = obj["spec"]["schema"].setdefault("label", {"name": "label"})
        label["classes"] = [f"{number:04}" + "数" * 252 for number in range(1000)]
    elif way == "label":
        obj["metadata"]["labels"] = {f"l{number}": "v" * 63 for number in range(2000)}
    else:
        size = rng.choice((200_000, 300_000))
        obj["metadata"]["annotations"] = {"note": "n" * size}
    return {"what": way, "body": json_of(obj)}


def largest(kind: Kind, rng: random.Random) -> Object:
    """A valid spec with every field, and every free text at its largest."""
    spec = draw_spec(kind.name, kind.spec, rng, often=1.0)
    named = ("persistentVolumeClaim", "mountPath", "runtimeClassName", "priorityClassName", "delimiter")
    for site in list(sites(spec, kind.spec, ("spec",))):
        free = site.schema.get("type") == "string" and "maxLength" in site.schema and "pattern" not in site.schema
        # Each feature, and each class with an alert, has a name of its own.
        if free and site.path[-1] not in named and not {"features", "classShare"} & set(site.path):
            at({"spec": spec}, site.path[:-1])[site.path[-1]] = "ü" * site.schema["maxLength"]
    return spec
