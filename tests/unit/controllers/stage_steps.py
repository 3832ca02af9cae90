"""How far tests take a world of stages, and what is read off it."""

from __future__ import annotations

from typing import Any

from kaon.api import conditions as c
from kaon.controllers.base import Key, Object

from .world import (
    DATASET_SPEC,
    NAMESPACE,
    TRAINING_SPEC,
    World,
    dataset_result,
    training_result,
)


def ready(world: World, kind: str, name: str) -> Object:
    obj = world.objects[Key(kind, NAMESPACE, name)]
    return next(item for item in obj["status"]["conditions"] if item["type"] == c.READY)


def stalled(world: World, kind: str, name: str) -> Object:
    obj = world.objects[Key(kind, NAMESPACE, name)]
    return next(item for item in obj["status"]["conditions"] if item["type"] == c.STALLED)


def finish_dataset(world: World, **quality: Any) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    world.run(world.jobs("data")[0], dataset_result(**quality))
    world.settle()


def finish_training(world: World, **evaluation: Any) -> None:
    finish_dataset(world)
    world.apply("TrainingRun", "run", TRAINING_SPEC)
    world.settle()
    world.run(world.jobs("run")[0], training_result(**evaluation))
    world.settle()
