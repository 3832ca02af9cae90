"""The V2 inference protocol (Open Inference Protocol) as JSON, for a server that does not speak it itself.

Pure: bytes and dicts in and out, standard library only. The router checks requests with the same rules before a server
sees them (router_json.lua, router_requests.lua); a test holds both to the same sentences. Answers look like Triton's.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

OUTPUTS = ("label", "probabilities")
MAX_DEPTH = 32
MAX_VALUES = 16384
MAX_NUMBER = 1e308
MAX_EXPONENT = 307
MAX_NAME = 1024
SHOWN_CHARACTERS = 64
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


class Refusal(Exception):
    """The request is wrong; the message says how. Answered with status 400."""


class Number(str):
    """A number as it was written: 1 and 1.0 are not the same in a shape."""


class Missing:
    """What a field holds that was not sent."""


MISSING = Missing()


@dataclass(frozen=True)
class Inference:
    """One request: its texts, its id if the client gave one, and the outputs it asks for."""

    texts: list[str]
    request_id: str | None
    outputs: tuple[str, ...]


def parse(body: bytes | bytearray, max_batch_size: int) -> Inference:
    """Read a request body.

    Raises:
        Refusal: the body is no V2 request for one input `text` of datatype BYTES and shape [n, 1].
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
    inputs = request.get("inputs", MISSING)
    if not isinstance(inputs, list):
        _wrong("inputs", inputs, "an array of one tensor named 'text'")
    if len(inputs) != 1:
        raise Refusal(f"inputs has {len(inputs)} tensors, expected 1, named 'text'.")
    texts = _texts(inputs[0], max_batch_size)
    return Inference(texts, request_id or None, _outputs(request.get("outputs", [])))


def answer(model: str, inference: Inference, labels: list[str], probabilities: list[list[float]]) -> dict[str, Any]:
    """The response body to `inference`."""
    count = len(inference.texts)
    tensors = {
        "label": {"name": "label", "datatype": "BYTES", "shape": [count, 1], "data": labels},
        "probabilities": {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [count, len(probabilities[0])],
            "data": [value for row in probabilities for value in row],
        },
    }
    response: dict[str, Any] = {"model_name": model, "model_version": "1"}
    if inference.request_id is not None:
        response["id"] = inference.request_id
    return response | {"outputs": [tensors[name] for name in inference.outputs]}


def metadata(model: str, platform: str, classes: int) -> dict[str, Any]:
    """The model metadata that the protocol asks for; -1 is the batch."""
    return {
        "name": model,
        "versions": ["1"],
        "platform": platform,
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
        ],
    }


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
        raise Refusal(f"The body holds more than {MAX_VALUES} values. Send fewer texts in one request.")
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
            raise Refusal(f"The body holds more than {MAX_VALUES} values. Send fewer texts in one request.")
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


def _texts(tensor: Any, max_batch_size: int) -> list[str]:
    if not isinstance(tensor, dict):
        _wrong("inputs[0]", tensor, "an object")
    for field, wanted in (("name", "text"), ("datatype", "BYTES")):
        value = tensor.get(field, MISSING)
        if not (_is_text(value) and value == wanted):
            _wrong(f"inputs[0].{field}", value, f"'{wanted}'")
    _check_parameters("inputs[0].parameters", tensor)
    texts = _flat(tensor.get("data", MISSING))
    if not 1 <= len(texts) <= max_batch_size:
        raise Refusal(f"inputs[0].data has {len(texts)} texts, expected 1 to {max_batch_size} in one request.")
    wanted, shape = f"[{len(texts)},1]", _shape(tensor.get("shape", MISSING))
    if shape != wanted:
        noun = "text" if len(texts) == 1 else "texts"
        raise Refusal(f"inputs[0].shape is {shape}, expected {wanted} for {len(texts)} {noun}.")
    return texts


def _flat(data: Any) -> list[str]:
    if not isinstance(data, list):
        _wrong("inputs[0].data", data, "an array of strings")
    texts: list[str] = []
    for index, item in enumerate(data):
        where = f"inputs[0].data[{index}]"
        named = (
            [(f"{where}[{inner}]", text) for inner, text in enumerate(item)]
            if isinstance(item, list)
            else [(where, item)]
        )
        for name, text in named:
            if not _is_text(text):
                _wrong(name, text, "a string")
            texts.append(text)
    return texts


def _shape(value: Any) -> str:
    """A short array of whole numbers as it was sent; of anything else, what a sentence calls it."""
    if not isinstance(value, list) or len(value) > 8:
        return _found(value)
    for item in value:
        if not (isinstance(item, Number) and re.fullmatch(r"-?[0-9]+", item) and len(item) <= 20):
            return f"an array that holds {_found(item)}"
    return "[" + ",".join(value) + "]"


def _outputs(asked: Any) -> tuple[str, ...]:
    if not isinstance(asked, list):
        _wrong("outputs", asked, "an array")
    names: list[str] = []
    for index, output in enumerate(asked):
        where = f"outputs[{index}]"
        if not isinstance(output, dict):
            _wrong(where, output, "an object")
        name = output.get("name", MISSING)
        if not _is_text(name) or name not in OUTPUTS:
            _wrong(f"{where}.name", name, "'label' or 'probabilities'")
        if name in names:
            raise Refusal(f"{where}.name is '{name}' once more. Ask for each output once.")
        names.append(name)
        _check_parameters(f"{where}.parameters", output)
    return tuple(names) or OUTPUTS
