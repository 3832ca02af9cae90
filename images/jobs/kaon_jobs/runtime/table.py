"""Rows of a table as the numbers that a model reads. Copied beside the model, which needs no Kaon then.

Imports only what a serving image has. A missing value is NaN, and so is a category that no training row has: models
learn what to make of them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

WIDTHS = {"number": 1, "category": 1, "datetime": 4}
"""Type of a column -> numbers that it becomes. A point in time: days since 1970, month, day of the week, hour."""


class TableReader:
    """Reads rows whose columns are described as in a model's card: name, type, categories."""

    def __init__(self, columns: Sequence[dict[str, Any]]) -> None:
        self.columns = columns
        self._ids = [{name: index for index, name in enumerate(column.get("categories", []))} for column in columns]

    @property
    def width(self) -> int:
        """Numbers that a row becomes."""
        return sum(WIDTHS[column["type"]] for column in self.columns)

    def numbers(self, rows: "Sequence[Sequence[float | str | None]]") -> "np.ndarray":
        """The rows as float32 [rows, width].

        Raises:
            ValueError: a point in time is not written as ISO 8601.
        """
        found = np.full((len(rows), self.width), np.nan, dtype=np.float32)
        at = 0
        for index, (column, ids) in enumerate(zip(self.columns, self._ids, strict=True)):
            kind = column["type"]
            for number, row in enumerate(rows):
                value = row[index]
                if value is None:
                    continue
                if kind == "datetime":
                    found[number, at : at + WIDTHS[kind]] = moments(str(value))
                elif kind == "category":
                    found[number, at] = ids.get(str(value), np.nan)
                else:
                    found[number, at] = value
            at += WIDTHS[kind]
        return found


def moments(text: str) -> "tuple[float, float, float, float]":
    """Days since 1970, month, day of the week and hour, in UTC, of a point in time in ISO 8601.

    Raises:
        ValueError: it is not written so.
    """
    moment = datetime.fromisoformat(text)
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        # On the first or the last day that there is an offset may lead out of time.
        moment = moment.replace(tzinfo=UTC)
    days = moment.timestamp() / 86_400
    return days, float(moment.month), float(moment.weekday()), moment.hour + moment.minute / 60
