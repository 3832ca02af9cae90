"""Finds the room of a task by its name: that of a-task is the module `room` of the package a_task."""

from __future__ import annotations

import importlib
import importlib.util

from kaon_jobs.errors import StageFailure
from kaon_jobs.tasks.base import Room


def room_of(task: str) -> Room:
    """The jobs' half of a task.

    Raises:
        StageFailure: this image does not have it.
    """
    package = f"kaon_jobs.tasks.{task.replace('-', '_')}"
    if not task.replace("-", "").isalnum() or importlib.util.find_spec(package) is None:
        raise StageFailure(
            "TaskUnknown",
            f"this image cannot run the task {task!r}; set the operator's jobs image to the one of its own release",
        )
    room = importlib.import_module(f"{package}.room").ROOM
    assert isinstance(room, Room), f"{package}.room.ROOM is a room"
    return room
