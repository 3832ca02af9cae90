"""What a value of a file becomes in a column of a table, by the column's type, and how a column is held. Pure.

A text or a category is a text or None, an image a Picture or None (pictures.py); a number a float64 or NaN; a point in
time the microseconds since 1970 in UTC or NO_TIME. Nothing is guessed: what cannot be read as its type is refused with
what would work. No message has a value.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Sequence, Set
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kaon_jobs.budget import helm_value
from kaon_jobs.data.values import NotText, as_text, kind_of, repaired

Values: TypeAlias = "list[Any] | array[float] | array[int]"
"""A column: of texts, categories and images (pictures.py) a list, of numbers and points in time an array, which takes 8
bytes for a value."""
Reader = Callable[[Any], Any]
"""A value of a file -> what is held of it. Raises Unfit."""

NO_TIME = -(2**63)
"""A missing point in time; numpy's NaT."""
LARGEST_NUMBER = float(np.finfo(np.float32).max)
"""Models compute with float32."""
MAX_NUMBER_CHARACTERS = 1000
MISSING_VALUES_FIELD = "spec.clean.missingValues"

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_GROUPED = re.compile(r"[+-]?[0-9]+(?:[.,'’_\s][0-9]+)+(?:[eE][+-]?[0-9]+)?")
_INFINITE = frozenset({"inf", "infinity"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


class Unfit(ValueError):
    """A value cannot be read as its column's type."""

    def __init__(self, cause: str, way_out: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.way_out = way_out


class Microseconds(int):
    """A point in time as Parquet has it: microseconds since 1970 in UTC. A plain int of a file is none."""


def held_as(kind: str) -> Values:
    """An empty column of a type."""
    if kind in ("number", "rating", "time"):
        return array("d")
    return array("q") if kind == "datetime" else []


def is_missing(values: Values) -> NDArray[np.bool_]:
    """Which values of a column are missing."""
    if isinstance(values, list):
        return np.fromiter((value is None for value in values), np.bool_, len(values))
    found: NDArray[np.bool_] = np.isnan(as_numpy(values)) if values.typecode == "d" else as_numpy(values) == NO_TIME
    return found


def as_numpy(values: array[float] | array[int]) -> NDArray[Any]:
    """The same memory as float64 or int64."""
    return np.asarray(values)


def as_arrow(kind: str, values: Values, rows: Sequence[int]) -> pa.Array:
    """Some rows of a column: double, timestamp[us] or string, null where a value is missing."""
    if isinstance(values, list):
        return pa.array([values[row] for row in rows], pa.string())
    chosen = as_numpy(values)[np.asarray(rows, np.int64)]
    if kind == "datetime":
        return pa.array(chosen, pa.int64(), mask=chosen == NO_TIME).cast(pa.timestamp("us"))
    return pa.array(chosen, pa.float64(), mask=np.isnan(chosen))


def is_decimal(text: str) -> bool:
    """Whether a text is written as a finite number."""
    return len(text) <= MAX_NUMBER_CHARACTERS and _DECIMAL.fullmatch(text) is not None


def text_reader(name: str, missing: Set[str], most: int, noticed: Counter[str] | None) -> Reader:
    """Reads texts, categories and labels of at most so many characters.

    Args:
        missing: texts that mean a missing value.
        noticed: counts the texts in which half a surrogate pair was replaced. None: such a text is refused.
    """

    def read(value: Any) -> str | None:
        try:
            text = as_text(value)
        except NotText as error:
            raise Unfit(
                f"the column {name!r} holds {error}", f"Give {name!r} one text or number in each row."
            ) from None
        if text is None or (missing and text in missing):
            return None
        if len(text) > most:
            raise Unfit(
                f"the column {name!r} holds {len(text):,} characters, and {most:,} is the limit",
                f"Cut it, or have an administrator raise the Helm value {helm_value('cell_characters')}.",
            )
        whole = repaired(text)
        if whole != text:
            if noticed is None:
                raise Unfit(
                    f"the column {name!r} holds half of a surrogate pair, which is no character",
                    f"Write the values of {name!r} with whole characters.",
                )
            noticed["repaired"] += 1
        return whole

    return read


def number_reader(name: str, missing: Set[str], otherwise: str) -> Reader:
    """Reads finite numbers; NaN is a missing one.

    Args:
        otherwise: what to do where the column holds no numbers.
    """
    plain = f"Write each number of {name!r} in decimal with a point, as 1234.5 or 1.2e3."
    declare = f"Where it means a missing value, leave it empty or list it in {MISSING_VALUES_FIELD}."

    def unfit(what: str, way_out: str) -> Unfit:
        return Unfit(f"the column {name!r} holds {what}, expected a number", way_out)

    def of_text(text: str) -> float:
        if not text or text in missing:
            return math.nan
        if is_decimal(text):
            return float(text)
        if len(text) <= MAX_NUMBER_CHARACTERS:
            bare = text.lstrip("+-").lower()
            if bare == "nan":
                return math.nan
            if bare in _INFINITE:
                raise unfit("an infinite number", declare)
            if _GROUPED.fullmatch(text):
                raise unfit("digits with a comma, a space or another separator between them", plain)
        raise unfit("a text that is no decimal number", f"{plain} {declare} {otherwise}")

    def read(value: Any) -> float:
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError as error:
                raise unfit(f"bytes that are not UTF-8 from byte {error.start + 1} on", plain) from None
        if isinstance(value, str):
            found = of_text(value.strip())
        elif value is None:
            return math.nan
        elif isinstance(value, bool):
            raise unfit("true or false", f"Write 1 and 0. {otherwise}")
        elif isinstance(value, int | float | Decimal):
            try:
                found = float(value)
            except OverflowError:
                found = math.inf
            if missing and as_text(found) in missing:
                return math.nan
        else:
            raise unfit(kind_of(value), f"Give {name!r} one number in each row.")
        if abs(found) > LARGEST_NUMBER:
            raise unfit("a number beyond 3.4e38, the limit of what models compute with", f"Mend it. {declare}")
        return found

    return read


def time_reader(name: str, missing: Set[str]) -> Reader:
    """Reads points in time in ISO 8601, in UTC where they name no offset, or of Parquet."""
    way_out = (
        f"Write {name!r} as 2026-03-01, 2026-03-01T12:30:00 or 2026-03-01T12:30:00+01:00. Where the text means a "
        f"missing value, leave it empty or list it in {MISSING_VALUES_FIELD}."
    )

    def unfit(what: str, more: str = "") -> Unfit:
        return Unfit(f"the column {name!r} holds {what}, expected a date or time in ISO 8601", way_out + more)

    def read(value: Any) -> int:
        if isinstance(value, Microseconds):
            found = int(value)
        else:
            try:
                text = as_text(value)
            except NotText as error:
                raise unfit(str(error).removesuffix(", expected text")) from None
            if text is None or text in missing:
                return NO_TIME
            if not isinstance(value, str | bytes):
                more = f" If {name!r} holds other numbers, give it the type number in spec.schema.features."
                raise unfit("true or false") if isinstance(value, bool) else unfit("a number", more)
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                raise unfit("a text of another form") from None
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            found = (moment - _EPOCH) // _MICROSECOND
        if not _FIRST <= found <= _LAST:
            raise unfit("a time outside of the years 1 to 9999")
        return found

    return read


def order_reader(name: str, missing: Set[str]) -> Reader:
    """Reads what tells earlier from later: numbers as they are, points in time as seconds since 1970. NaN: missing."""
    number, moment = number_reader(name, missing, ""), time_reader(name, missing)

    def is_number(value: Any) -> bool:
        if isinstance(value, Microseconds):
            return False
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        return is_decimal(value.strip()) if isinstance(value, str) else isinstance(value, int | float | Decimal)

    def read(value: Any) -> float:
        if is_number(value):
            return float(number(value))
        micros = moment(value)
        return math.nan if micros == NO_TIME else micros / 1e6

    return read
