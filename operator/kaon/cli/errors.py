"""The one exception of the command line: a sentence for the person at the terminal, shown without a traceback."""

from __future__ import annotations

EXIT_READY = 0
EXIT_STALLED = 1
EXIT_NOT_YET = 2
EXIT_ERROR = 3


class CliError(Exception):
    """What went wrong, and in `hint` the way out."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConnectionLost(CliError):
    """The API server does not answer now; a watch tries again, a single command gives up."""
