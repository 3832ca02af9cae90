"""Reads JSON lines and JSON arrays of objects, row by row. Pure: text in, rows out.

A key that a row lacks is a missing value. A column that no row has is refused at the end of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from kaon_jobs.data.rows import MAX_ROW_CHARACTERS, MAX_ROW_VALUES, Columns, FileRows, named
from kaon_jobs.data.values import BAD_BYTES
from kaon_jobs.errors import StageFailure

_WHITE = " \t\n\r"
_BUFFER_CHARACTERS = 1024 * 1024
_BYTES_WAY_OUT = "Mend these bytes, or set spec.encoding to the encoding that the file was written in."
_LINES_WAY_OUT = "Write each row as one JSON object on a line of its own, or all rows as one array of objects."
_KINDS = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
_TOO_MANY_VALUES = f"more than {MAX_ROW_VALUES:,} values, the limit"
_SHOWN = 3
"""Columns of a row that a message shows."""
_VALUES_WAY_OUT = "Leave the values out of the row that spec.schema does not name."


class _RepeatedKey(ValueError):
    pass


def read_jsonl(rows: FileRows, lines: Iterable[str]) -> None:
    """Fills in the rows of a file with one object a line."""
    there: dict[str, None] = {}
    decoder = _decoder(rows.columns)
    for number, line in enumerate(lines, start=1):
        if not line.strip(_WHITE):
            rows.noticed["blankLines"] += 1
        elif BAD_BYTES in line:
            rows.refuse("bytes that are no text in the file's encoding", number, _BYTES_WAY_OUT)
        elif _has_too_many_values(line):
            rows.refuse(_TOO_MANY_VALUES, number, _VALUES_WAY_OUT)
        else:
            try:
                value = decoder.decode(line.rstrip("\r\n"))
            except (ValueError, RecursionError) as error:
                rows.refuse(_cause(error), number, _LINES_WAY_OUT)
            else:
                _add(rows, there, value, number)
    _check(rows, there)


def read_array(rows: FileRows, pieces: Iterable[str]) -> None:
    """Fills in the rows of a file that is one array of objects. Its text comes in pieces, never held as a whole.

    Raises:
        StageFailure: after broken JSON nothing says where the next row begins, so the file is refused.
    """
    there: dict[str, None] = {}
    for value, line in _elements(rows.uri, pieces, _decoder(rows.columns)):
        _add(rows, there, value, line)
    _check(rows, there)


def _has_too_many_values(text: str) -> bool:
    """Whether JSON may hold more values than a row may. Only what is long is looked at."""
    return len(text) > MAX_ROW_VALUES and sum(map(text.count, ",[{")) > MAX_ROW_VALUES


def _add(rows: FileRows, there: dict[str, None], value: Any, line: int) -> None:
    if not isinstance(value, dict):
        kind = _KINDS.get(type(value), type(value).__name__)
        rows.refuse(f"{kind}, expected a JSON object", line, "Each row must be one JSON object.")
        return
    if rows.nested is None:
        rows.nested = next((key for key, inner in value.items() if _holds(inner, rows.columns)), None)
    if len(there) < 1000:
        there.update(dict.fromkeys(key for key in islice(value, 1000) if len(key) <= 256))
    for name in rows.names:
        if name in value:
            there[name] = None
    *features, label = map(value.get, rows.names)
    rows.add(features, label, line)


def _holds(inner: Any, columns: Columns) -> bool:
    """Whether a value is an object, or a list of objects, with one of the columns."""
    first = inner[0] if isinstance(inner, list) and inner else inner
    return isinstance(first, dict) and any(name in first for name in columns.names)


def _check(rows: FileRows, there: dict[str, None]) -> None:
    # Rows that could not be read may be the ones with the column.
    if rows.numbers:
        names = rows.columns.names
        missing = next((name for name in names if name not in there), None)
        if missing is not None and rows.nested is not None:
            example = json.dumps(dict.fromkeys((*names[:_SHOWN], names[-1]), "…"), ensure_ascii=False)
            raise StageFailure(
                rows.columns.missing_label[0] if missing == names[-1] else rows.columns.missing_reason,
                f"{rows.uri} has rows without {missing!r} at their top: columns stand inside of "
                f"{named(rows.nested) or 'another key'}. Write each row as {example}.",
            )
        rows.columns.check(rows.uri, list(there))


def _decoder(columns: Columns) -> json.JSONDecoder:
    wanted = columns.names

    def of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            for name in wanted:
                if sum(key == name for key, _ in pairs) > 1:
                    raise _RepeatedKey(f"the key {name!r} stands in it more than once")
        return found

    return json.JSONDecoder(object_pairs_hook=of_pairs)


def _cause(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "JSON that is nested too deep"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON at column {error.colno} ({error.msg})"
    if isinstance(error, _RepeatedKey):
        return str(error)
    return "a number of thousands of digits"


def _elements(uri: str, pieces: Iterable[str], decoder: json.JSONDecoder) -> Iterator[tuple[Any, int]]:
    """The elements of an array with the line that each begins in."""
    text = _Buffer(uri, iter(pieces))
    if text.next_character() != "[":
        raise _broken(text, f"The file is not a JSON array. {_other_format(text.next_character())}")
    text.skip(1)
    if text.next_character() == "]":
        text.skip(1)
    else:
        while True:
            if text.next_character() == "]":
                raise _broken(text, "A comma stands before the ']' that ends the array. Remove this comma.")
            yield text.element(decoder), text.line
            text.leave_element()
            mark = text.next_character()
            if mark not in (",", "]"):
                found = "the file ends" if mark is None else "another character stands"
                raise _broken(text, f"After this row {found} where ',' or ']' must be.")
            text.skip(1)
            if mark == "]":
                break
            text.rows += 1
    if text.next_character() is not None:
        raise _broken(text, "More text follows after the end of the array.")


def _other_format(first: str | None) -> str:
    if first == "{":
        return 'Set spec.format to jsonl if each line is an object, or write [{"…": "…"}, …].'
    return 'If it is no JSON, set spec.format to what it is; else write [{"…": "…"}, …].'


class _Buffer:
    """A window on the text, with the line it begins in."""

    def __init__(self, uri: str, pieces: Iterator[str]) -> None:
        self.uri = uri
        self.line = 1
        self.rows = 1
        self._pieces = pieces
        self._text = ""
        self._at = 0
        self._end = 0

    def next_character(self) -> str | None:
        """The next character that is not white space, which is skipped; None at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _WHITE:
                self.skip(1)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(_BUFFER_CHARACTERS):
                return None

    def skip(self, count: int) -> None:
        """Goes on by so many characters."""
        self.line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def element(self, decoder: json.JSONDecoder) -> Any:
        """The value that begins here."""
        size = _BUFFER_CHARACTERS
        while True:
            if size > _BUFFER_CHARACTERS and _has_too_many_values(self._text[self._at :]):
                raise _broken(self, f"It holds {_TOO_MANY_VALUES}. {_VALUES_WAY_OUT}")
            try:
                value, self._end = decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                start = self._at
                if self._may_go_on(error) and self._more(size):
                    size *= 2
                    continue
                # To look for more text moves the window.
                raise self._refusal(error, start - self._at) from error
            if BAD_BYTES in self._text[self._at : self._end]:
                raise _broken(self, f"It holds bytes that are no text in the file's encoding. {_BYTES_WAY_OUT}")
            return value

    def leave_element(self) -> None:
        """Goes on to behind the value that was read."""
        self.skip(self._end - self._at)

    def _may_go_on(self, error: Exception) -> bool:
        # An error before the end of the window is one of the file.
        return isinstance(error, json.JSONDecodeError) and (
            error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - 16
        )

    def _breaks_off(self, error: json.JSONDecodeError, at: int) -> bool:
        """Whether the text ends where more of the element must follow. There is no more text."""
        if error.msg.startswith("Unterminated string"):
            return True
        rest = self._text[at:].strip(_WHITE)
        if error.msg.startswith("Invalid \\") and '"' not in rest:
            return True
        return any(word.startswith(rest) for word in ("true", "false", "null", "NaN", "Infinity", "-Infinity"))

    def _refusal(self, error: Exception, moved: int) -> StageFailure:
        """What is wrong with the element. The window has moved by so many characters since the error."""
        if isinstance(error, json.JSONDecodeError):
            at = error.pos - moved
            if self._breaks_off(error, at):
                return _broken(self, "The file ends within this row: it is incomplete. Upload the whole file again.")
            line = self.line + self._text.count("\n", self._at, at)
            return _broken(self, f"Line {line} is not JSON ({error.msg}). Mend the file from there on.")
        return _broken(self, f"It holds {_cause(error)}.")

    def _more(self, size: int) -> bool:
        window = [self._text[self._at :]]
        length = 0
        while length < size and (piece := next(self._pieces, None)) is not None:
            window.append(piece)
            length += len(piece)
        if len(window[0]) + length > 2 * MAX_ROW_CHARACTERS:
            raise _broken(self, f"It is longer than {MAX_ROW_CHARACTERS:,} characters, the limit.")
        self._text, self._at = "".join(window), 0
        return length > 0


def _broken(text: _Buffer, cause: str) -> StageFailure:
    return StageFailure(
        "SourceUnreadable", f"{text.uri} cannot be read from row {text.rows} (line {text.line}) on. {cause}"
    )
