"""What `kaon ask` sends: a text, the file of an image, or a row written as column=value or as JSON, by the model's
signature. Pure."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kaon.api.signature import Signature, TensorSpec
from kaon.cli.errors import CliError

SHOWN_COLUMNS = 32
WORDS = {
    "FP64": "a number",
    "BYTES": "a string",
    "image": "an image",
    "datetime": "a point in time in ISO 8601, such as 2020-01-31",
}
"""Kind of an input -> what its value is called."""


def request_of(
    name: str, signature: Signature, words: Sequence[str], row: str | None, image: bytes | None = None
) -> dict[str, Any]:
    """The V2 request of one text, one image, or of one row.

    Args:
        name: of the deployment.
        words: a text, or column=value; a column without a value is missing.
        row: the row as a JSON object, in place of words.
        image: the bytes of a JPEG or PNG file, in place of words.

    Raises:
        CliError: they are not what the model reads.
    """
    if signature.noun == "image":
        if image is None or words or row is not None:
            raise CliError(f"{name} reads one image", f"kaon ask {name} --image FILE")
        (tensor,) = signature.inputs
        return {"inputs": [_tensor(tensor, base64.b64encode(image).decode())]}
    if image is not None:
        reads = "histories" if signature.is_history else "rows of a table" if signature.is_table else "texts"
        raise CliError(f"{name} reads {reads}, and no images", f"kaon ask {name} --help")
    if signature.is_history:
        return {"inputs": _history(name, signature, words, row)}
    if signature.is_table:
        return {"inputs": _row(name, signature, _pairs(name, signature, words) if row is None else _object(row, words))}
    if row is not None or len(words) != 1:
        raise CliError(f"{name} reads one text, in quotes", f'kaon ask {name} "a sentence"')
    (tensor,) = signature.inputs
    return {"inputs": [_tensor(tensor, words[0])]}


def _history(name: str, signature: Signature, words: Sequence[str], row: str | None) -> list[dict[str, Any]]:
    """The tensors of names that were given: of the one input that varies any number, of another one."""
    known = {tensor.name: tensor for tensor in signature.inputs}
    hint = f'kaon ask {name} {next(iter(known))}="A,B,C"'
    wrong = next((word for word in words if word.partition("=")[0] not in known or "=" not in word), None)
    if wrong is not None:
        raise CliError(f"{name} reads {' and '.join(f'{one}=…' for one in known)}, and {wrong!r} is neither", hint)
    given = _pairs(name, signature, words) if row is None else _object(row, words)
    tensors = []
    for column, value in given.items():
        if column not in known:
            raise CliError(f"{name} reads no {column!r}; it reads {' and '.join(known)}", hint)
        spec = known[column]
        values = value
        if isinstance(value, str):
            values = [part.strip() for part in value.split(",")] if spec.varies else [value]
        if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
            raise CliError(f"{column!r} takes {'names' if spec.varies else 'a name'}, as strings", hint)
        values = [one for one in values if one]
        if values:
            tensors.append({"name": column, "datatype": spec.datatype, "shape": [1, len(values)], "data": values})
    if not tensors:
        raise CliError(f"{name} needs one of {' and '.join(known)} at least", hint)
    return tensors


def _pairs(name: str, signature: Signature, words: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    known = {tensor.name: tensor for tensor in signature.inputs}
    for word in words:
        # A column's own name may hold the sign.
        column = max((one for one in known if word.startswith(f"{one}=")), key=len, default=word.partition("=")[0])
        if not word.startswith(f"{column}="):
            raise CliError(f"{name} reads rows of a table, and {word!r} is no column=value", _columns(signature))
        if column in found:
            raise CliError(f"the column {column!r} is given twice", _columns(signature))
        text = word[len(column) + 1 :]
        numeric = column in known and known[column].kind == "FP64"
        found[column] = _number(column, text) if numeric and text else text
    return found


def _number(column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise CliError(f"the column {column!r} takes a number, and {text!r} is none") from error


def _object(text: str, words: Sequence[str]) -> dict[str, Any]:
    if words:
        raise CliError("a row is given either as column=value or with --row, not both")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CliError(f"the row is not JSON: {error}", """Write --row '{"column": value}'.""") from error
    if not isinstance(found, dict):
        raise CliError("the row is JSON, but no object", """Write --row '{"column": value}'.""")
    return found


def _row(name: str, signature: Signature, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tensors of the values that are there."""
    known = {tensor.name: tensor for tensor in signature.inputs}
    unknown = [column for column in values if column not in known]
    if unknown:
        raise CliError(f"{name} reads no column {unknown[0]!r}", _columns(signature))
    tensors = [_tensor(known[column], value) for column, value in values.items() if value is not None and value != ""]
    if not tensors:
        raise CliError(f"{name} needs the value of one column at least", _columns(signature))
    return tensors


def _tensor(spec: TensorSpec, value: Any) -> dict[str, Any]:
    if not _fits(spec.kind, value):
        shown = json.dumps(value, ensure_ascii=False)
        raise CliError(f"the column {spec.name!r} takes {WORDS[spec.kind]}, and {shown:.64} is none")
    return {"name": spec.name, "datatype": spec.datatype, "shape": [1, 1], "data": [value]}


def _fits(kind: str, value: Any) -> bool:
    if kind == "FP64":
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not isinstance(value, str):
        return False
    if kind == "datetime":
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return False
    return True


def _columns(signature: Signature) -> str:
    """The columns with what each takes, as a hint."""
    told = [f"{tensor.name} ({WORDS[tensor.kind]})" for tensor in signature.inputs[:SHOWN_COLUMNS]]
    more = len(signature.inputs) - len(told)
    return f"Its columns: {', '.join(told)}{f' and {more} more' if more else ''}."
