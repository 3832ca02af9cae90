"""A clock that can be set, for an operator: as many seconds off as a file says.

Only the wall clock jumps; the monotonic one never does, as on a real machine.
"""

from __future__ import annotations

import datetime
import sys
import time
from pathlib import Path

VARIABLE = "FAULTS_CLOCK"
"""Environment variable with the file's name; without it the clock is right."""


def install(file: Path) -> None:
    """Set the clock of everything in the operator that asks for the time. All of it is imported already."""
    right = time.time

    def offset() -> float:
        return float(file.read_text())

    class Clock(datetime.datetime):
        """datetime with another idea of now."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Clock:
            return super().now(tz) + datetime.timedelta(seconds=offset())

    time.time = lambda: right() + offset()
    for name, module in list(sys.modules.items()):
        if name.startswith("kaon.") and getattr(module, "datetime", None) is datetime.datetime:
            vars(module)["datetime"] = Clock
