"""The operator with a clock that can be set: it is as many seconds off as the file $FAULTS_CLOCK says.

Only the wall clock jumps; the monotonic one never does, as on a real machine.
"""

import datetime
import os
import sys
import time
from pathlib import Path

from kaon.engine.main import main

FILE = Path(os.environ["FAULTS_CLOCK"])
_time = time.time


def offset() -> float:
    """Seconds that the clock is off."""
    return float(FILE.read_text())


class Clock(datetime.datetime):
    """datetime with another idea of now."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "Clock":
        """The time, as the set clock shows it."""
        return super().now(tz) + datetime.timedelta(seconds=offset())


def install() -> None:
    """Set the clock of everything in the operator that asks for the time."""
    time.time = lambda: _time() + offset()
    for name, module in list(sys.modules.items()):
        if name.startswith("kaon.") and getattr(module, "datetime", None) is datetime.datetime:
            vars(module)["datetime"] = Clock


if __name__ == "__main__":
    install()
    main()
