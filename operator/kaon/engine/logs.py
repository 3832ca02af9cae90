"""Logs: one line an event, JSON or text. Fields beside the message come from `extra`, and an object from its Key."""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

from kaon.api.text import told
from kaon.controllers.base import Key

FIELD_LENGTH = 16_384
"""Characters of one field: an API server's answer may repeat a whole object."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def about(key: Key, **fields: Any) -> dict[str, Any]:
    """The `extra` of a line about an object."""
    return {"object": key, **fields}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a line says beside its message."""
    found: dict[str, Any] = {}
    for name, value in vars(record).items():
        if name in _STANDARD:
            continue
        if isinstance(value, Key):
            found |= {"kind": value.kind, "namespace": value.namespace, "name": value.name}
        elif isinstance(value, str):
            found[name] = told(value, FIELD_LENGTH)
        elif isinstance(value, int | float | bool):
            found[name] = value
    return found


def trace(exc_info: Any) -> str:
    """The last calls of a traceback: one of an endless recursion is fifty thousand lines long."""
    return "".join(traceback.format_exception(*exc_info, limit=-40)).rstrip()


class JsonFormatter(logging.Formatter):
    """time, level, msg, logger, then the fields; a traceback under `error`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            "logger": record.name,
            **fields_of(record),
        }
        if record.exc_info:
            line["error"] = trace(record.exc_info)
        return orjson.dumps(line).decode()


class TextFormatter(logging.Formatter):
    """For people at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, its fields in the end."""
        fields = " ".join(f"{name}={value}" for name, value in fields_of(record).items())
        stamp = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        line = f"{stamp} {record.levelname:<7} {record.getMessage()}  {fields}".rstrip()
        return f"{line}\n{trace(record.exc_info)}" if record.exc_info else line


def configure(form: str, level: str) -> None:
    """Send every log line to stderr in one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("kopf", "aiohttp.access", "asyncio"):
        # kopf reports each handled event at INFO; the engine's own lines say what matters.
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for told_by_the_engine in ("kopf._core.reactor.orchestration", "kopf._core.reactor.running"):
        # Why kopf ended: custom.py says it in a line.
        logging.getLogger(told_by_the_engine).setLevel(logging.CRITICAL)
