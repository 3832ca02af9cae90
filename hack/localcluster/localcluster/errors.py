"""The one exception that carries a message meant for the person at the terminal; no traceback is shown for it."""


class LocalClusterError(Exception):
    """Something the caller can act on: a missing package, a step that failed, a log to read."""
