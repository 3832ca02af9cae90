"""The V2 inference protocol (Open Inference Protocol) as JSON, for a server that does not speak it itself.

Pure: bytes and dicts in and out, standard library only. What a request holds follows from the model's signature: one
tensor of texts or images, or of a table a tensor for each column. The router checks requests with the same rules before
a server sees them (router_json.lua, router_requests.lua); a test holds both to the same sentences. Answers look like
Triton's.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NoReturn

MAX_DEPTH = 32
MAX_VALUES = 16384
MAX_NUMBER = 1e308
MAX_EXPONENT = 307
MAX_NAME = 1024
SHOWN_CHARACTERS = 64
SHOWN_NAMES = 32
MAX_FLOAT = 3.4e38
"""Models read numbers of 32 bits."""
UNSUPPORTED = {
    "binary_data_size",
    "classification",
    "priority",
    "sequence_end",
    "sequence_id",
    "sequence_start",
    "shared_memory_byte_size",
    "shared_memory_offset",
    "shared_memory_region",
    "timeout",
}
"""Parameters that Triton would act upon."""
BINARY = {"binary_data", "binary_data_output"}


_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z)', re.DOTALL)
"""A string of JSON, or the beginning of one at the end of the text."""
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_MOMENT = re.compile(
    r"(\d{4}-(?:0[1-9]|1[0-2])-\d\d)"
    r"(?:[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)?)?",
    re.ASCII,
)
"""A point in time as ISO 8601 writes it in full: a date, and after T or a space a time with or without an offset."""
_WANTED = {"FP64": "a number", "BYTES": "a string", "datetime": "a string", "image": "a string"}
_MISSING_VALUE = {
    "FP64": ". Where it is missing, send its row in a request without this input",
    "BYTES": '. Send "" where it is missing',
    "datetime": '. Send "" where it is missing',
}
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class Refusal(Exception):
    """The request is wrong; the message says how. Answered with status 400."""


class Number(str):
    """A number as it was written: 1 and 1.0 are not the same in a shape."""


class Missing:
    """What a field holds that was not sent."""


MISSING = Missing()


class Signature:
    """What a request to a model holds and what it is answered with: the tensors of serving.json."""

    def __init__(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.datatypes: dict[str, str] = {tensor["name"]: tensor["datatype"] for tensor in inputs}
        self.kinds: dict[str, str] = {tensor["name"]: tensor.get("content") or tensor["datatype"] for tensor in inputs}
        """Name of an input -> what its values are: BYTES, FP64, datetime or image."""
        self.is_table = all(tensor.get("optional") for tensor in inputs)
        self.varying = {tensor["name"] for tensor in inputs if list(tensor["shape"][1:]) == [-1]}
        """Inputs of which a row has any number of values, filled up with empty strings."""
        self.noun = "row" if self.is_table else "image" if "image" in self.kinds.values() else "text"

    def rows(self, columns: Mapping[str, Sequence[Any]]) -> list[Any]:
        """Texts, files of images, or rows of a table: a value for each input, None where it is left out or an empty
        string. Of an input that varies all values that are not empty, as a tuple.
        """
        if not self.is_table:
            return list(columns[self.inputs[0]["name"]])
        count = len(next(iter(columns.values())))
        nothing = [None] * count
        found = [columns.get(tensor["name"], nothing) for tensor in self.inputs]
        return [tuple(map(_cell, row)) for row in zip(*found, strict=True)]


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(one for one in value if one != "")
    return None if value == "" else value


@dataclass(frozen=True)
class Inference:
    """One request: its texts, rows or images, its id if the client gave one, and the outputs it asks for."""

    rows: list[Any]
    request_id: str | None
    outputs: tuple[str, ...]


def parse(body: bytes | bytearray, signature: Signature, max_batch_size: int) -> Inference:
    """Read a request body.

    Raises:
        Refusal: the body is no V2 request for a model of this signature.
    """
    if not isinstance(body, bytes | bytearray | memoryview):
        raise Refusal("The body is not sent as JSON. Send a JSON object as application/json.")
    request = decode(bytes(body))
    if not isinstance(request, dict):
        raise Refusal(f"The body is {_found(request)}, expected an object with the field inputs.")
    request_id = request.get("id", "")
    if not _is_text(request_id):
        _wrong("id", request_id, "a string")
    if len(request_id) > MAX_NAME:
        raise Refusal(f"id is longer than {MAX_NAME} characters. Send a shorter one.")
    if "\0" in request_id:
        raise Refusal("id holds the character U+0000. Leave it out.")
    _check_parameters("parameters", request)
    columns = _columns(request.get("inputs", MISSING), signature, max_batch_size)
    outputs = _outputs(request.get("outputs", []), tuple(tensor["name"] for tensor in signature.outputs))
    return Inference(signature.rows(columns), request_id or None, outputs)


def answer(model: str, inference: Inference, signature: Signature, values: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The response body to `inference`. values: those of each output, one row after the other."""
    count = len(inference.rows)
    tensors = {
        tensor["name"]: {
            "name": tensor["name"],
            "datatype": tensor["datatype"],
            "shape": [count, *tensor["shape"][1:]],
            "data": values[tensor["name"]],
        }
        for tensor in signature.outputs
    }
    response: dict[str, Any] = {"model_name": model, "model_version": "1"}
    if inference.request_id is not None:
        response["id"] = inference.request_id
    return response | {"outputs": [tensors[name] for name in inference.outputs]}


def metadata(model: str, platform: str, signature: Signature) -> dict[str, Any]:
    """The model metadata that the protocol asks for; -1 is the batch."""

    def told(tensors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{name: tensor[name] for name in ("name", "datatype", "shape")} for tensor in tensors]

    return {
        "name": model,
        "versions": ["1"],
        "platform": platform,
        "inputs": told(signature.inputs),
        "outputs": told(signature.outputs),
    }


def value_of(where: str, name: str, kind: str, value: str) -> float | str | bytes:
    """A value of the input `name` as the model reads it: a number as a float, the file of an image, a string as it is.

    Args:
        where: how a sentence names the value.
        value: a string, or a Number.

    Raises:
        Refusal: no model reads such a number, or the string is no point in time, or no base64, where one is wanted.
    """
    if kind == "image":
        if len(value) % 4 or not _BASE64.fullmatch(value):
            raise Refusal(
                f"{where} is no base64. Send '{_shown(name)[0]}' as the base64 text of a JPEG or PNG file, with its "
                "padding and without line breaks."
            )
        return base64.b64decode(value)
    if kind == "datetime" and value and not is_moment(value):
        raise Refusal(
            f"{where} is no point in time. Send '{_shown(name)[0]}' in ISO 8601, such as 2020-01-31T14:05:00Z, or \"\" "
            "where it is missing."
        )
    if kind != "FP64":
        return value
    if not abs(float(value)) <= MAX_FLOAT:
        _wrong(where, value, "a number between -3.4e38 and 3.4e38")
    return float(value)


def is_moment(text: str) -> bool:
    """Whether a text is a point in time in ISO 8601: a date that there is, and a time if any."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return False
    try:
        date.fromisoformat(found[1])
    except ValueError:
        return False
    return True


def decode(body: bytes) -> Any:
    """Strict JSON: UTF-8 without a byte order mark, no field twice, bounded depth, number of values and numbers.

    Raises:
        Refusal: it is not that.
    """
    if not body.strip(b" \t\r\n"):
        raise Refusal("The body is empty. Send a JSON object with the field inputs.")
    if body.startswith(b"\xef\xbb\xbf"):
        raise Refusal("The body begins with a byte order mark. Send JSON in UTF-8 without it.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(f"The body is not UTF-8: byte {error.start + 1}. Send it in UTF-8.") from error
    _check_size(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_fields, parse_int=_number, parse_float=_number, parse_constant=_constant
        )
    except json.JSONDecodeError as error:
        at = len(text[: error.pos].encode()) + 1
        raise Refusal(f"The body is not JSON: byte {at}: {error.msg}. Send valid JSON.") from error
    except RecursionError as error:
        raise Refusal(f"The body nests deeper than {MAX_DEPTH} levels. Send it flat.") from error
    _check_bounds(value)
    return value


def _check_size(text: str) -> None:
    """Refuses by its brackets and commas what holds far too many values or nests too deep, before it becomes objects: a
    body of megabytes would take gigabytes, or the reader's whole stack, and its neighbours of the batch with it."""
    outside = _STRING.sub("", text) if len(text) > MAX_DEPTH else ""
    opened = outside.count("[") + outside.count("{")
    # Each value that is no first one has a comma before it, and each that has values a bracket.
    if opened + outside.count(",") > 2 * MAX_VALUES:
        raise Refusal(f"The body holds more than {MAX_VALUES} values. Send fewer rows in one request.")
    if opened <= MAX_DEPTH:
        return
    depth = 0
    for mark in _NO_BRACKET.sub("", outside):
        depth += 1 if mark in "[{" else -1
        if depth > 4 * MAX_DEPTH:
            raise Refusal(f"The body nests deeper than {MAX_DEPTH} levels. Send it flat.")


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if len(name) > MAX_NAME:
            raise Refusal(f"A field's name in the body is longer than {MAX_NAME} characters. Send a shorter one.")
        if name in fields:
            raise Refusal(f"The body has the field '{_shown(name)[0]}' twice in one object. Send it once.")
        fields[name] = value
    return fields


def _number(text: str) -> Number:
    mantissa, _, exponent = text.lower().partition("e")
    # Triton's reader stops at a large exponent even of 0, and at a long run of digits even before e-100.
    large = len(mantissa.partition(".")[0]) - 1 > MAX_EXPONENT
    large = large or (exponent[:1] not in ("", "-") and float(exponent) > MAX_EXPONENT)
    if large or not abs(float(text)) < MAX_NUMBER:
        raise Refusal("A number in the body is too large. Send numbers below 1e308.")
    return Number(text)


def _constant(name: str) -> NoReturn:
    raise Refusal(f"The body is not JSON: {name} is no value. Send valid JSON.")


def _check_bounds(value: Any) -> None:
    for count, (item, depth) in enumerate(_values(value), start=1):
        if count > MAX_VALUES:
            raise Refusal(f"The body holds more than {MAX_VALUES} values. Send fewer rows in one request.")
        if depth > MAX_DEPTH:
            raise Refusal(f"The body nests deeper than {MAX_DEPTH} levels. Send it flat.")
        for text in item if isinstance(item, dict) else [item]:
            if _is_text(text) and re.search("[\ud800-\udfff]", text):
                raise Refusal("The body is not Unicode: it has half of a surrogate pair. Send both halves, or U+FFFD.")


def _values(root: Any) -> Iterator[tuple[Any, int]]:
    """Every value, and in how many arrays and objects it stands, itself included if it is one."""
    waiting: list[tuple[Any, int]] = [(root, int(isinstance(root, list | dict)))]
    while waiting:
        value, depth = waiting.pop()
        yield value, depth
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting.extend((item, depth + isinstance(item, list | dict)) for item in inner)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def _shown(text: str) -> tuple[str, bool]:
    return text[:SHOWN_CHARACTERS], len(text) <= SHOWN_CHARACTERS


def _found(value: Any) -> str:
    """How a sentence names what was found."""
    if isinstance(value, Number):
        return f"the number {value}" if len(value) <= SHOWN_CHARACTERS else "a long number"
    if isinstance(value, str):
        text, whole = _shown(value)
        return f"'{text}'{'' if whole else ' and more'}"
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    return "missing" if value is MISSING else {None: "null", True: "true", False: "false"}[value]


def _wrong(where: str, value: Any, wanted: str) -> NoReturn:
    raise Refusal(f"{where} is {_found(value)}, expected {wanted}.")


def _check_parameters(where: str, owner: dict[str, Any]) -> None:
    parameters = owner.get("parameters", {})
    if not isinstance(parameters, dict):
        _wrong(where, parameters, "an object")
    for name, value in parameters.items():
        if "\0" in name:
            raise Refusal(f"The name of a parameter in {where} holds the character U+0000. Leave it out.")
        if name in UNSUPPORTED or name.startswith("triton_"):
            raise Refusal(f"{where}.{_shown(name)[0]} is not supported by this model. Leave it out.")
        if name in BINARY:
            if value is not False:
                _wrong(f"{where}.{name}", value, "false: this model answers in JSON alone")
        elif value is None or isinstance(value, list | dict):
            _wrong(f"The value of '{_shown(name)[0]}' in {where}", value, "a string, a number, true or false")


def _columns(inputs: Any, signature: Signature, max_batch_size: int) -> dict[str, list[Any]]:
    """The values of each input that was sent."""
    names = list(signature.kinds)
    if not isinstance(inputs, list):
        wanted = "of tensors, one a column" if signature.is_table else f"of one tensor named '{names[0]}'"
        _wrong("inputs", inputs, f"an array {wanted}")
    if not 1 <= len(inputs) <= len(names):
        most = "1" if len(names) == 1 else f"1 to {len(names)}"
        named = "one a column" if signature.is_table else f"named '{names[0]}'"
        raise Refusal(f"inputs has {len(inputs)} tensors, expected {most}, {named}.")
    found: dict[str, list[Any]] = {}
    first: int | None = None
    for index, tensor in enumerate(inputs):
        where = f"inputs[{index}]"
        if not isinstance(tensor, dict):
            _wrong(where, tensor, "an object")
        name = tensor.get("name", MISSING)
        if not _is_text(name) or name not in signature.kinds:
            _wrong(f"{where}.name", name, _one_of(names))
        if name in found:
            raise Refusal(f"{where}.name is {_found(name)} once more. Send each input once.")
        found[name] = values = _values_of(where, name, tensor, signature)
        if name in signature.varying:
            found[name] = values = _varying(where, tensor, values)
            wide = len(values[0])
        else:
            wide = 1
        noun = signature.noun if len(values) == 1 else f"{signature.noun}s"
        if not 1 <= len(values) <= max_batch_size:
            raise Refusal(f"{where}.data has {len(values)} {noun}, expected 1 to {max_batch_size} in one request.")
        wanted, shape = f"[{len(values)},{wide}]", _shape(tensor.get("shape", MISSING))
        if shape != wanted:
            raise Refusal(f"{where}.shape is {shape}, expected {wanted} for {len(values)} {noun}.")
        first = len(values) if first is None else first
        if len(values) != first:
            raise Refusal(f"{where}.data has {len(values)} {noun} and inputs[0].data {first}. Send all rows in each.")
    return found


def _varying(where: str, tensor: dict[str, Any], values: list[Any]) -> list[Any]:
    """The values of each row, by the shape: rows first, then as many as each has."""
    shape = _shape(tensor.get("shape", MISSING))
    sides = re.fullmatch(r"\[([1-9][0-9]{0,8}),([1-9][0-9]{0,8})\]", shape)
    if sides is None or int(sides[1]) * int(sides[2]) != len(values):
        raise Refusal(f"{where}.shape is {shape}, expected [rows,values of a row] for {len(values)} values.")
    wide = int(sides[2])
    return [values[at : at + wide] for at in range(0, len(values), wide)]


def _one_of(names: Sequence[str]) -> str:
    quoted = [_found(name) for name in names[:SHOWN_NAMES]]
    if len(names) == 1:
        return quoted[0]
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"one of {', '.join(quoted)}{more}"


def _values_of(where: str, name: str, tensor: dict[str, Any], signature: Signature) -> list[Any]:
    datatype, kind = signature.datatypes[name], signature.kinds[name]
    value = tensor.get("datatype", MISSING)
    if not (_is_text(value) and value == datatype):
        _wrong(f"{where}.datatype", value, f"'{datatype}'")
    _check_parameters(f"{where}.parameters", tensor)
    data, wanted = tensor.get("data", MISSING), _WANTED[kind]
    if not isinstance(data, list):
        _wrong(f"{where}.data", data, f"an array of {wanted[2:]}s")
    values: list[Any] = []
    for index, item in enumerate(data):
        place = f"{where}.data[{index}]"
        named = (
            [(f"{place}[{inner}]", value) for inner, value in enumerate(item)]
            if isinstance(item, list)
            else [(place, item)]
        )
        for at, value in named:
            if not (isinstance(value, Number) if kind == "FP64" else _is_text(value)):
                missing = _MISSING_VALUE[kind] if value is None and signature.is_table else ""
                _wrong(at, value, wanted + missing)
            values.append(value_of(at, name, kind, value))
    return values


def _shape(value: Any) -> str:
    """A short array of whole numbers as it was sent; of anything else, what a sentence calls it."""
    if not isinstance(value, list) or len(value) > 8:
        return _found(value)
    for item in value:
        if not (isinstance(item, Number) and re.fullmatch(r"-?[0-9]+", item) and len(item) <= 20):
            return f"an array that holds {_found(item)}"
    return "[" + ",".join(value) + "]"


def _outputs(asked: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(asked, list):
        _wrong("outputs", asked, "an array")
    names: list[str] = []
    for index, output in enumerate(asked):
        where = f"outputs[{index}]"
        if not isinstance(output, dict):
            _wrong(where, output, "an object")
        name = output.get("name", MISSING)
        if not _is_text(name) or name not in known:
            _wrong(f"{where}.name", name, " or ".join(f"'{output}'" for output in known))
        if name in names:
            raise Refusal(f"{where}.name is '{name}' once more. Ask for each output once.")
        names.append(name)
        _check_parameters(f"{where}.parameters", output)
    return tuple(names) or known
