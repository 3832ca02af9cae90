"""Text that goes into a status, an Event or a Report: cut to its bound, and without anybody's password. Pure."""

from __future__ import annotations

import re
from typing import Any

from kaon.api.types import MESSAGE_LENGTH, REASON_LENGTH

BOUNDS = {"reason": REASON_LENGTH, "outcome": REASON_LENGTH, "message": MESSAGE_LENGTH}
"""Field -> characters. Each field of these names has this bound in every status; a test holds this."""
_GAP = " … "
_TAIL_SHARE = 4
"""A cut message keeps its last quarter: its end says what to do."""
_USER_INFO = re.compile(r'(?<=://)[^\s/"<>]*@')


def told(text: str, most: int = MESSAGE_LENGTH) -> str:
    """A sentence as it may be shown: user name and password of a URI are left out, and a long one loses its middle."""
    if "://" in text:
        text = _USER_INFO.sub("***@", text)
    if len(text) <= most:
        return text
    tail = (most - len(_GAP)) // _TAIL_SHARE
    return f"{text[: most - len(_GAP) - tail]}{_GAP}{text[len(text) - tail :]}"


def bounded(status: Any, field: str = "") -> Any:
    """A status, or a part of one, whose reasons and messages all fit."""
    if isinstance(status, str):
        return told(status, BOUNDS[field]) if field in BOUNDS else status
    if isinstance(status, dict):
        return {name: bounded(value, name) for name, value in status.items()}
    if isinstance(status, list | tuple):
        return [bounded(item) for item in status]
    return status
