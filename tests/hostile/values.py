"""Values that a schema takes, drawn at random: the same for the same state of the generator. Pure.

What a schema cannot say (a request is not above its limit, a mount path comes once) is said here, by the field's name.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hostile.schema import Schema, fits

from kaon.tasks.registry import COMPARED, METRICS, TASKS

WORDS = ("text", "label", "reuters", "r8", "Übermut", "данные", "数据", "a b", "x", "e" * 40)
READY = {"Dataset": "ready-d", "TrainingRun": "ready-t", "CompressionJob": "ready-c"}
"""The resources that exist and are Ready, for whoever refers to one."""
_UNBOUNDED = 1_000_000
_AFTER_TRAINING = ("optimize", "lowRank", "quantize")
"""Steps on the exported graph, in their order; all others come before them."""


def draw(schema: Schema, rng: random.Random, name: str = "", often: float = 0.35) -> Any:
    """A value that meets `schema`. Optional fields are there with the probability `often`."""
    if name in _BY_NAME:
        return _BY_NAME[name](rng)
    if "enum" in schema:
        return rng.choice(schema["enum"])
    match schema.get("type"):
        case "boolean":
            return rng.random() < 0.5
        case "integer":
            return _whole(schema, rng)
        case "number":
            return _number(schema, rng)
        case "string":
            return _text(schema, rng)
        case "array":
            return _list(schema, rng, name, often)
        case "object":
            made = _fields(schema, rng, often)
            if name in _MENDED:
                _MENDED[name](made, rng)
            return made
    raise AssertionError(f"no way to draw {name}: {schema}")


def draw_spec(kind: str, schema: Schema, rng: random.Random, often: float = 0.35) -> dict[str, Any]:
    """A spec that the API server takes, rules between fields included."""
    spec: dict[str, Any] = _fields(schema, rng, often)
    if kind == "Dataset":
        _agree_on_columns(spec, rng)
    if kind == "TrainingRun":
        spec["datasetRef"] = {"name": _reference("Dataset", rng)}
    if kind in ("CompressionJob", "ModelDeployment"):
        spec["modelRef"]["name"] = _reference(spec["modelRef"]["kind"], rng)
    if kind == "CompressionJob":
        _agree_on_strategy(spec)
    if kind == "ModelDeployment" and "replicas" in spec:
        spec["replicas"] = rng.randint(0, 3)
    return spec


def _reference(kind: str, rng: random.Random) -> str:
    return READY[kind] if rng.random() < 0.6 else f"missing-{rng.randint(0, 99)}"


def _agree_on_columns(spec: dict[str, Any], rng: random.Random) -> None:
    """Columns that models of the task read, and no rules for classes where there are none."""
    task, columns = TASKS[spec["task"]], spec["schema"]
    if (task.columns == ("image",)) != (spec.get("format") == "image-folder"):
        spec.pop("format", None)
    if not task.has_label:
        _agree_on_interactions(spec, rng)
        return
    label = columns.setdefault("label", {"name": "label"})
    for name in ("minRating", "minPerUser", "minPerItem"):
        spec.get("clean", {}).pop(name, None)
    spec.get("split", {}).pop("by", None)
    columns["features"] = columns["features"][: task.most_columns]
    for at, feature in enumerate(columns["features"]):
        feature["type"] = rng.choice(task.columns)
        if feature["name"] == label["name"]:
            feature["name"] = f"feature {at}"
    if not task.has_classes:
        label.pop("classes", None)
        spec.get("quality", {}).pop("minRowsPerClass", None)
    if not task.reads_tables and spec.get("clean", {}).get("missing") == "keep":
        spec["clean"]["missing"] = "drop"


def _agree_on_interactions(spec: dict[str, Any], rng: random.Random) -> None:
    """A user, an item and perhaps more of what models of interactions read."""
    columns = spec["schema"]
    columns.pop("label", None)
    more = [kind for kind in ("time", "rating", "text") if rng.random() < 0.5]
    columns["features"] = [{"name": f"a {kind}", "type": kind} for kind in ("user", "item", *more)]
    spec.get("quality", {}).pop("minRowsPerClass", None)
    if spec.get("clean", {}).get("missing") == "keep":
        spec["clean"]["missing"] = "drop"
    if "rating" not in more:
        spec.get("clean", {}).pop("minRating", None)
    if "time" not in more:
        spec.get("split", {}).pop("by", None)


def _agree_on_strategy(spec: dict[str, Any]) -> None:
    if "steps" in spec:
        spec["strategy"] = "steps"
        first = next((step for step in spec["steps"] if "linear" in step), None)
        if first is not None:
            # It makes a new model, and only these can follow.
            spec["steps"] = [first, *(step for step in spec["steps"] if set(step) <= set(_AFTER_TRAINING))]
        spec["steps"].sort(key=_place)
    elif "strategy" in spec:
        spec["strategy"] = "auto"


def _place(step: dict[str, Any]) -> int:
    """Steps on the trained model come first."""
    (name,) = step
    return _AFTER_TRAINING.index(name) if name in _AFTER_TRAINING else -1


def _whole(schema: Schema, rng: random.Random) -> int:
    low = int(schema.get("minimum", 0))
    high = int(schema.get("maximum", low + _UNBOUNDED))
    return int(rng.choice((low, high, rng.randint(low, high))))


def _number(schema: Schema, rng: random.Random) -> float | int:
    low = schema.get("minimum", 0)
    high = schema.get("maximum", low + 1000)
    inside = [low + (high - low) * share for share in (rng.uniform(0.01, 0.99), 0.5)]
    edges = [] if schema.get("exclusiveMinimum") else [low]
    edges += [] if schema.get("exclusiveMaximum") else [high]
    return float(rng.choice(inside + edges))


def _text(schema: Schema, rng: random.Random) -> str:
    if schema.get("format") == "date-time":
        return f"2026-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}T0{rng.randint(0, 9)}:00:00Z"
    candidates = [found for found in (make(rng) for make in _TEXTS) if fits(found, schema)]
    if not candidates:
        raise AssertionError(f"no sample meets {schema}: add one to _TEXTS")
    return rng.choice(candidates)


_TEXTS: tuple[Callable[[random.Random], str], ...] = (
    lambda rng: f"name-{rng.randint(0, 9999)}",
    lambda rng: "n" + "0" * rng.randint(1, 62),
    lambda rng: f"sha256:{rng.getrandbits(256):064x}",
    lambda rng: f"s3://bucket/{rng.randint(0, 99)}/rows.csv",
    lambda rng: f"file:///mnt/claim/{rng.randint(0, 99)}.csv",
    lambda rng: f"NAME_{rng.randint(0, 9999)}",
    lambda rng: f"Reason{rng.randint(0, 9)}",
    lambda rng: str(rng.randint(1, 9)),
    lambda rng: rng.choice(WORDS),
    lambda rng: "word " * rng.randint(1, 40),
)


def _list(schema: Schema, rng: random.Random, name: str, often: float) -> list[Any]:
    least = schema.get("minItems", 0)
    count = rng.randint(least, min(schema.get("maxItems", 4), least + 3))
    found = [draw(schema["items"], rng, f"{name}[]", often) for _ in range(count)]
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys:  # no two items with the same keys
        found = list({tuple(str(item.get(key)) for key in keys): item for item in found}.values())
    return found


def _fields(schema: Schema, rng: random.Random, often: float) -> dict[str, Any]:
    if "additionalProperties" in schema:
        return {f"key{index}": draw(schema["additionalProperties"], rng) for index in range(rng.randint(0, 3))}
    required = schema.get("required", ())
    return {
        name: draw(child, rng, name, often)
        for name, child in schema.get("properties", {}).items()
        if name in required or rng.random() < often
    }


# -- what the schema does not say --------------------------------------------------------------------------------------


def _resources(rng: random.Random) -> dict[str, Any]:
    limits: dict[str, Any] = {"memory": rng.choice(("1Gi", "2000Mi", 3_000_000_000)), "cpu": rng.choice(("2", 3))}
    if rng.random() < 0.3:
        limits["nvidia.com/gpu"] = rng.choice(("1", 2))
    requests = {"memory": rng.choice(("100Mi", "0.5Gi")), "cpu": rng.choice(("100m", "0.25", 1))}
    return rng.choice(({}, {"limits": limits}, {"requests": requests}, {"limits": limits, "requests": requests}))


def _tolerations(rng: random.Random) -> list[dict[str, Any]]:
    every = (
        {"operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "a", "effect": "PreferNoSchedule"},
        {"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
    )
    return rng.sample(every, rng.randint(0, len(every)))


def _volumes(rng: random.Random) -> list[dict[str, Any]]:
    return [
        {"name": f"v{index}", "persistentVolumeClaim": "claim", "mountPath": f"/mnt/data{index}", "readOnly": True}
        for index in range(rng.randint(0, 3))
    ]


def _env(rng: random.Random) -> list[dict[str, str]]:
    return [{"name": f"APP_SETTING_{index}", "value": rng.choice(WORDS)} for index in range(rng.randint(0, 3))]


def _is_one_thing(step: dict[str, Any], rng: random.Random) -> None:
    if not step:
        step["optimize"] = "transformer-fusion"
    kept = rng.choice(sorted(step))
    for name in set(step) - {kept}:
        del step[name]


def _takes_a_share_or_layers(prune: dict[str, Any], rng: random.Random) -> None:
    if "keepLayers" in prune:
        prune["method"] = "layers"
        prune.pop("ratio", None)
    else:
        prune.setdefault("ratio", 0.5)
    if prune["method"] in ("trees", "neighbours"):
        prune.pop("finetuneEpochs", None)


def _has_one_kind_of_student(distill: dict[str, Any], rng: random.Random) -> None:
    if "keepLayers" in distill:
        distill.pop("student", None)


def _has_a_limit(share: dict[str, Any], rng: random.Random) -> None:
    if "below" in share and share["below"] >= share.get("above", 2):
        del share["above"]
    elif "below" not in share:
        share.setdefault("above", 0.5)


def _leaves_some_to_train(split: dict[str, Any], rng: random.Random) -> None:
    split |= {name: split[name] / 3 for name in ("validation", "test") if name in split}


def _gates(better: str) -> Callable[[dict[str, Any], random.Random], None]:
    names = [metric.name for metric in METRICS.values() if metric.better == better]

    def names_metrics(bounds: dict[str, Any], rng: random.Random) -> None:
        chosen = rng.sample(names, min(len(bounds), len(names)))
        bounds.clear()
        bounds.update({name: rng.choice((0, 0.5, 1)) for name in chosen})

    return names_metrics


def _names_losses(bounds: dict[str, Any], rng: random.Random) -> None:
    bounds.clear()
    bounds.update({name: rng.choice((0, 0.01, 1)) for name in rng.sample(COMPARED, rng.randint(1, len(COMPARED)))})


def _says_what_may_be_lost(budget: dict[str, Any], rng: random.Random) -> None:
    if "maxClassRecallDrop" not in budget:
        budget["maxDrop"] = {rng.choice(COMPARED): 0.01}


def _has_the_values_of_its_operator(requirement: dict[str, Any], rng: random.Random) -> None:
    values = {"In": ["a", "b"], "NotIn": ["a"], "Gt": ["5"], "Lt": ["5"]}.get(requirement["operator"])
    requirement.pop("values", None)
    requirement |= {"values": values} if values else {}


_MENDED: dict[str, Callable[[dict[str, Any], random.Random], None]] = {
    "steps[]": _is_one_thing,
    "prune": _takes_a_share_or_layers,
    "distill": _has_one_kind_of_student,
    "matchExpressions[]": _has_the_values_of_its_operator,
    "split": _leaves_some_to_train,
    "budget": _says_what_may_be_lost,
    "minimum": _gates("higher"),
    "maximum": _gates("lower"),
    "maxDrop": _names_losses,
    "classShare[]": _has_a_limit,
}
"""Rules between fields, after the schema has had its say."""
_BY_NAME: dict[str, Callable[[random.Random], Any]] = {
    "resources": _resources,
    "nodeSelector": lambda rng: rng.choice(({}, {"disk": "ssd"}, {"example.com/zone": "a-1"})),
    "tolerations": _tolerations,
    "volumes": _volumes,
    "env": _env,
    "delimiter": lambda rng: rng.choice(("auto", "tab", ",", ";", "\t")),
    "blockSize": lambda rng: rng.choice((16, 32, 64, 128)),
    # Pods must be let in: what they name must be there, and these are.
    "serviceAccountName": lambda rng: "kaon-job",
    "runtimeClassName": lambda rng: "sandboxed",
    "priorityClassName": lambda rng: "important",
}
