"""The router's check of requests: what it refuses, with which sentence, and that TorchServe's handler agrees."""

from __future__ import annotations

import base64
import json
import math
import time
from typing import Any, Literal

import lupa.luajit21
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaon.api.modeldeployment import Route
from kaon.api.signature import TEXT_SIGNATURE, Signature, TensorSpec
from kaon.resources.router_requests import CHECK, asked
from kaon_jobs.runtime import v2
from kaon_jobs.runtime.table import moments

MAX_BATCH_SIZE = 2
TENSOR = {"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": ["one", "two"]}
SYNTAX = ("The body is not JSON", "The body is not UTF-8", "The body is not Unicode")
"""Python's reader words these in its own way."""


def lua() -> Any:
    # Envoy's own Lua is LuaJIT 2.1 too.
    runtime = lupa.luajit21.LuaRuntime(encoding=None)
    runtime.execute(CHECK.encode())
    return runtime


LUA = lua()


def table_of(value: Any) -> Any:
    """JSON as Envoy gives it to the program."""
    if isinstance(value, list):
        return LUA.table(*map(table_of, value))
    if isinstance(value, dict):
        return LUA.table_from({name.encode(): table_of(item) for name, item in value.items()})
    return value.encode() if isinstance(value, str) else value


def router(body: bytes, signature: Signature = TEXT_SIGNATURE) -> str | None:
    """What the router says; None: it sends the request on."""
    told = LUA.globals()[b"refusal"](body, table_of(asked(signature, MAX_BATCH_SIZE)))
    return None if told is None else told.decode()


def handler(body: bytes, signature: Signature = TEXT_SIGNATURE) -> str | None:
    """What TorchServe's handler says."""
    try:
        v2.parse(body, v2.Signature(**signature.wire()), MAX_BATCH_SIZE)
    except v2.Refusal as refusal:
        return str(refusal)
    return None


def request(**fields: Any) -> bytes:
    return json.dumps({"inputs": [TENSOR], **fields}).encode()


def tensor(**fields: Any) -> bytes:
    return request(inputs=[{**TENSOR, **fields}])


def output(*names: Any, **fields: Any) -> bytes:
    return request(outputs=[{"name": name, **fields} for name in names])


def with_value(text: str) -> bytes:
    """A good request with a field that nobody asked for, whose value is written so."""
    return request(extra="@").replace(b'"@"', text.encode())


REFUSED: list[tuple[bytes, str]] = [
    (b"", "The body is empty. Send a JSON object with the field inputs."),
    (b" \r\n", "The body is empty. Send a JSON object with the field inputs."),
    (b"null", "The body is null, expected an object with the field inputs."),
    (b"[]", "The body is an array, expected an object with the field inputs."),
    (b"-1.5", "The body is the number -1.5, expected an object with the field inputs."),
    (b"{}", "inputs is missing, expected an array of one tensor named 'text'."),
    (request(inputs=None), "inputs is null, expected an array of one tensor named 'text'."),
    (request(inputs=[]), "inputs has 0 tensors, expected 1, named 'text'."),
    (request(inputs=[TENSOR, TENSOR]), "inputs has 2 tensors, expected 1, named 'text'."),
    (request(inputs=[7]), "inputs[0] is the number 7, expected an object."),
    (request(id=7), "id is the number 7, expected a string."),
    (request(id=None), "id is null, expected a string."),
    (request(id="a\0b"), "id holds the character U+0000. Leave it out."),
    (request(id="é" * 1025), "id is longer than 1024 characters. Send a shorter one."),
    (
        request(**{"é" * 1025: 1}),
        "A field's name in the body is longer than 1024 characters. Send a shorter one.",
    ),
    (tensor(name="tex"), "inputs[0].name is 'tex', expected 'text'."),
    (tensor(name=None), "inputs[0].name is null, expected 'text'."),
    (tensor(name="x" * 99), f"inputs[0].name is '{'x' * 64}' and more, expected 'text'."),
    (tensor(name="汉" * 64), f"inputs[0].name is '{'汉' * 64}', expected 'text'."),
    (tensor(datatype="FP32"), "inputs[0].datatype is 'FP32', expected 'BYTES'."),
    (tensor(datatype=3), "inputs[0].datatype is the number 3, expected 'BYTES'."),
    (tensor(data=None), "inputs[0].data is null, expected an array of strings."),
    (tensor(data="one"), "inputs[0].data is 'one', expected an array of strings."),
    (tensor(data=["one", 2]), "inputs[0].data[1] is the number 2, expected a string."),
    (tensor(data=["one", None]), "inputs[0].data[1] is null, expected a string."),
    (tensor(data=[["one"], [True]]), "inputs[0].data[1][0] is true, expected a string."),
    (tensor(data=[["one"], [["two"]]]), "inputs[0].data[1][0] is an array, expected a string."),
    (tensor(data=[], shape=[0, 1]), "inputs[0].data has 0 texts, expected 1 to 2 in one request."),
    (tensor(data=["a"] * 3, shape=[3, 1]), "inputs[0].data has 3 texts, expected 1 to 2 in one request."),
    (tensor(shape=[3, 1]), "inputs[0].shape is [3,1], expected [2,1] for 2 texts."),
    (tensor(shape=[2]), "inputs[0].shape is [2], expected [2,1] for 2 texts."),
    (tensor(shape=None), "inputs[0].shape is null, expected [2,1] for 2 texts."),
    (tensor(shape=[2, True]), "inputs[0].shape is an array that holds true, expected [2,1] for 2 texts."),
    (tensor(shape=[2.0, 1]), "inputs[0].shape is an array that holds the number 2.0, expected [2,1] for 2 texts."),
    (tensor(shape=[1, 1], data=["one", "two"]), "inputs[0].shape is [1,1], expected [2,1] for 2 texts."),
    (tensor(shape=[2, 1], data=["one"]), "inputs[0].shape is [2,1], expected [1,1] for 1 text."),
    (tensor(shape=[1] * 9), "inputs[0].shape is an array, expected [2,1] for 2 texts."),
    (output("logits"), "outputs[0].name is 'logits', expected 'label' or 'probabilities'."),
    (output("label", None), "outputs[1].name is null, expected 'label' or 'probabilities'."),
    (output("label", "label"), "outputs[1].name is 'label' once more. Ask for each output once."),
    (request(outputs="label"), "outputs is 'label', expected an array."),
    (request(outputs=None), "outputs is null, expected an array."),
    (request(outputs=["label"]), "outputs[0] is 'label', expected an object."),
    (request(parameters=[]), "parameters is an array, expected an object."),
    (request(parameters={"sequence_id": 1}), "parameters.sequence_id is not supported by this model. Leave it out."),
    (
        output("label", parameters={"classification": 1}),
        "outputs[0].parameters.classification is not supported by this model. Leave it out.",
    ),
    (
        tensor(parameters={"binary_data_size": 8}),
        "inputs[0].parameters.binary_data_size is not supported by this model. Leave it out.",
    ),
    (
        request(parameters={"binary_data_output": True}),
        "parameters.binary_data_output is true, expected false: this model answers in JSON alone.",
    ),
    (
        request(parameters={"note": None}),
        "The value of 'note' in parameters is null, expected a string, a number, true or false.",
    ),
    (
        request(parameters={"\0note": 1}),
        "The name of a parameter in parameters holds the character U+0000. Leave it out.",
    ),
    (b'{"inputs":[],"inputs":[]}', "The body has the field 'inputs' twice in one object. Send it once."),
    (b'{"i":1,"\\u0069":1}', "The body has the field 'i' twice in one object. Send it once."),
    (b"\xef\xbb\xbf" + request(), "The body begins with a byte order mark. Send JSON in UTF-8 without it."),
    (b"[" * 33 + b"]" * 33, "The body nests deeper than 32 levels. Send it flat."),
    (b'{"a":' * 33 + b"1" + b"}" * 33, "The body nests deeper than 32 levels. Send it flat."),
    (with_value("[" * 40 + "]" * 40), "The body nests deeper than 32 levels. Send it flat."),
    (with_value("[" + "1," * 20_000 + "1]"), "The body holds more than 16384 values. Send fewer rows in one request."),
    (with_value("1e308"), "A number in the body is too large. Send numbers below 1e308."),
    (with_value("1e2000000"), "A number in the body is too large. Send numbers below 1e308."),
    (with_value("0e308"), "A number in the body is too large. Send numbers below 1e308."),
    (with_value("-0.0E+308"), "A number in the body is too large. Send numbers below 1e308."),
    (with_value("1" * 309 + "e-100"), "A number in the body is too large. Send numbers below 1e308."),
    (with_value("-1e999"), "A number in the body is too large. Send numbers below 1e308."),
    (with_value("1" * 5000), "A number in the body is too large. Send numbers below 1e308."),
]

BROKEN: list[tuple[bytes, str]] = [
    (b"{", "The body is not JSON: it ends before a field's name in quotes. Send it whole."),
    (b'{"inputs', "The body is not JSON: it ends before the end of a string. Send it whole."),
    (request()[:-1], "The body is not JSON: it ends before ',' or '}'. Send it whole."),
    (b"undefined", "The body is not JSON: expected a value at byte 1. Send valid JSON."),
    (b"{'inputs': 1}", "The body is not JSON: expected a field's name in quotes at byte 2. Send valid JSON."),
    (b'{"a" 1}', "The body is not JSON: expected ':' at byte 6. Send valid JSON."),
    (b"[1,]", "The body is not JSON: expected a value at byte 4. Send valid JSON."),
    (b"[1 2]", "The body is not JSON: expected ',' or ']' at byte 4. Send valid JSON."),
    (b'{"a":1,}', "The body is not JSON: expected a field's name in quotes at byte 8. Send valid JSON."),
    (b"{} {}", "The body is not JSON: expected the end of the body at byte 4. Send valid JSON."),
    (b"NaN", "The body is not JSON: expected a value at byte 1. Send valid JSON."),
    (b"-Infinity", "The body is not JSON: expected a value at byte 1. Send valid JSON."),
    (b"truth", "The body is not JSON: expected a value at byte 1. Send valid JSON."),
    (b"[01]", "The body is not JSON: expected ',' or ']' at byte 3. Send valid JSON."),
    (b"[1.]", "The body is not JSON: expected a digit at byte 4. Send valid JSON."),
    (b"[1e+]", "The body is not JSON: expected an exponent at byte 4. Send valid JSON."),
    (b'["\\x"]', "The body is not JSON: expected an escape of JSON at byte 4. Send valid JSON."),
    (
        b'["\\u00g0"]',
        "The body is not JSON: expected an escape of four hexadecimal digits at byte 5. Send valid JSON.",
    ),
    (b'["\n"]', "The body is not JSON: expected an escape in place of a control character at byte 3. Send valid JSON."),
    (b'["\xff"]', "The body is not UTF-8: byte 3. Send it in UTF-8."),
    (b'["\xc0\x80"]', "The body is not UTF-8: byte 3. Send it in UTF-8."),
    (b'["\xed\xa0\x80"]', "The body is not UTF-8: byte 3. Send it in UTF-8."),
    (b'["\xf4\x90\x80\x80"]', "The body is not UTF-8: byte 3. Send it in UTF-8."),
    (b'["\xe6\xb1"]', "The body is not UTF-8: byte 3. Send it in UTF-8."),
    (
        tensor(data=["\ud800", "two"]),
        "The body is not Unicode: byte 78 begins half of a surrogate pair. Send both halves, or U+FFFD.",
    ),
    (
        b'{"\\udc00\\ud800": 1}',
        "The body is not Unicode: byte 3 begins half of a surrogate pair. Send both halves, or U+FFFD.",
    ),
    (request().decode().encode("utf-16-le"), "The body is not JSON: expected a field's name in quotes at byte 2. "),
]

GOOD: list[bytes] = [
    request(),
    b" \t\r\n" + request() + b"\n",
    tensor(data=[["one"], ["two"]]),
    tensor(data=["", "\0"]),
    tensor(data=["\U0001f600", "汉字\u2028\x7f"]),
    json.dumps({"inputs": [{**TENSOR, "data": ["\U0001f600", "汉"]}]}, ensure_ascii=False).encode(),
    request().replace(b'"text"', b'"t\\u0065xt"'),
    tensor(data=["x" * 100_000, "\\" * 1000]),
    request(id="", outputs=[]),
    request(**{"id": "é" * 1024, "汉" * 1024: 1}),
    request(id="ключ", outputs=[{"name": "probabilities"}, {"name": "label", "parameters": {"binary_data": False}}]),
    tensor(parameters={"content_type": "str"}),
    request(parameters={"binary_data_output": False, "trace": 7, "x": 1.5, "y": True}),
    request(model_name="m", anything={"at": [None, 1e-999, 1e307, -0.0]}),
    with_value("[1e-2000000, 0e307, -0e-0, 1E+00000000000000000001, 9.9e307]"),
    with_value("[" + "1" * 307 + "e-100, 0." + "1" * 400 + "]"),
    with_value("[" * 31 + "]" * 31),
    with_value("[" + "1," * 16_000 + "1]"),
]


@pytest.mark.parametrize(("body", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_a_wrong_request_is_refused_with_the_same_sentence_by_router_and_handler(body: bytes, sentence: str) -> None:
    assert router(body) == sentence
    assert handler(body) == sentence


@pytest.mark.parametrize(("body", "sentence"), BROKEN, ids=range(len(BROKEN)))
def test_broken_json_is_refused_with_its_place(body: bytes, sentence: str) -> None:
    told = router(body)
    assert told is not None and told.startswith(sentence)
    refused = handler(body)
    assert refused is not None and refused.startswith(SYNTAX)


@pytest.mark.parametrize("body", GOOD, ids=range(len(GOOD)))
def test_a_good_request_passes_both(body: bytes) -> None:
    assert (router(body), handler(body)) == (None, None)


def test_a_body_of_a_hundred_megabytes_is_read_without_a_copy_of_its_values() -> None:
    body = tensor(data=["汉" * 10_000_000, "one"])
    assert router(body) is None


def test_the_nesting_of_a_hostile_body_ends_no_stack() -> None:
    for opening in (b"[", b'{"a":'):
        assert router(opening * 1_000_000) == "The body nests deeper than 32 levels. Send it flat."
        assert handler(opening * 1_000_000) is not None


# -- tables -----------------------------------------------------------------------------------------------------------

FORBIDDEN = "汉" * 70


def column(name: str, datatype: str, content: Literal["datetime"] | None = None) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=[-1, 1], optional=True, content=content)


TABLE = Signature(
    inputs=[column("age", "FP64"), column("job", "BYTES"), column("since", "BYTES", "datetime")],
    outputs=[TensorSpec(name="prediction", datatype="FP64", shape=[-1, 1])],
)
WIDE = Signature(
    inputs=[column(f"c{number}", "FP64") for number in range(255)] + [column(FORBIDDEN, "BYTES")],
    outputs=TEXT_SIGNATURE.outputs,
)
NARROW = Signature(inputs=[column("text", "BYTES")], outputs=TABLE.outputs)


def values(name: str, /, *data: Any, **fields: Any) -> dict[str, Any]:
    datatype = next((item.datatype for item in TABLE.inputs if item.name == name), "BYTES")
    return {"name": name, "shape": [len(data), 1], "datatype": datatype, "data": list(data), **fields}


def row(*tensors: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"inputs": list(tensors), **fields}).encode()


NO_MOMENT = "is no point in time. Send 'since' in ISO 8601, such as 2020-01-31T14:05:00Z, or \"\" where it is missing."
NO_NUMBER = "Where it is missing, send its row in a request without this input."
REFUSED_ROWS: list[tuple[Signature, bytes, str]] = [
    (TABLE, b"{}", "inputs is missing, expected an array of tensors, one a column."),
    (TABLE, row(), "inputs has 0 tensors, expected 1 to 3, one a column."),
    (TABLE, row(*[values("age", 1)] * 4), "inputs has 4 tensors, expected 1 to 3, one a column."),
    (NARROW, row(), "inputs has 0 tensors, expected 1, one a column."),
    (TABLE, row(values("agee", 1)), "inputs[0].name is 'agee', expected one of 'age', 'job', 'since'."),
    (TABLE, row(values("age", 1, name=7)), "inputs[0].name is the number 7, expected one of 'age', 'job', 'since'."),
    (NARROW, row(values("job", "x")), "inputs[0].name is 'job', expected 'text'."),
    (
        WIDE,
        row(values("x" * 70, 1)),
        f"inputs[0].name is '{'x' * 64}' and more, expected one of "
        f"{', '.join(repr(f'c{number}') for number in range(32))} and 224 more.",
    ),
    (
        WIDE,
        row(*[values(FORBIDDEN, "x")] * 2),
        f"inputs[1].name is '{FORBIDDEN[:64]}' and more once more. Send each input once.",
    ),
    (TABLE, row(values("age", 1), values("age", 1)), "inputs[1].name is 'age' once more. Send each input once."),
    (TABLE, row(values("age", 1, datatype="INT64")), "inputs[0].datatype is 'INT64', expected 'FP64'."),
    (TABLE, row(values("job", "x", datatype="FP64")), "inputs[0].datatype is 'FP64', expected 'BYTES'."),
    (TABLE, row(values("age", 1, data={})), "inputs[0].data is an object, expected an array of numbers."),
    (TABLE, row(values("age", "41")), "inputs[0].data[0] is '41', expected a number."),
    (TABLE, row(values("age", 1, True)), "inputs[0].data[1] is true, expected a number."),
    (TABLE, row(values("age", 1, None)), f"inputs[0].data[1] is null, expected a number. {NO_NUMBER}"),
    (TABLE, row(values("age", [None])), f"inputs[0].data[0][0] is null, expected a number. {NO_NUMBER}"),
    (TABLE, row(values("job", None)), 'inputs[0].data[0] is null, expected a string. Send "" where it is missing.'),
    (TABLE, row(values("since", None)), 'inputs[0].data[0] is null, expected a string. Send "" where it is missing.'),
    (TABLE, row(values("job", 7)), "inputs[0].data[0] is the number 7, expected a string."),
    (
        TABLE,
        row(values("age", -1e39)),
        "inputs[0].data[0] is the number -1e+39, expected a number between -3.4e38 and 3.4e38.",
    ),
    (TABLE, row(values("job", "a"), values("since", "", "soon")), f"inputs[1].data[1] {NO_MOMENT}"),
    (TABLE, row(values("age")), "inputs[0].data has 0 rows, expected 1 to 2 in one request."),
    (TABLE, row(values("age", 1, 2, 3)), "inputs[0].data has 3 rows, expected 1 to 2 in one request."),
    (TABLE, row(values("age", 1, shape=[1])), "inputs[0].shape is [1], expected [1,1] for 1 row."),
    (TABLE, row(values("age", 1, 2, shape=[1, 2])), "inputs[0].shape is [1,2], expected [2,1] for 2 rows."),
    (
        TABLE,
        row(values("age", 1, 2), values("job", "x")),
        "inputs[1].data has 1 row and inputs[0].data 2. Send all rows in each.",
    ),
    (
        TABLE,
        row(values("age", 1), outputs=[{"name": "label"}]),
        "outputs[0].name is 'label', expected 'prediction'.",
    ),
]
GOOD_ROWS: list[tuple[Signature, bytes]] = [
    (TABLE, row(values("age", 41))),
    (TABLE, row(values("since", "2020-01-31", ""), values("age", 1.5, -3.4e38), values("job", "", "teacher"))),
    (TABLE, row(values("job", [""]), outputs=[{"name": "prediction"}])),
    (TABLE, row(values("age", [1], [2]))),
    (WIDE, row(values(FORBIDDEN, "x"), values("c254", 1, datatype="FP64"))),
    (NARROW, row(values("text", ""))),
]
MOMENTS = {
    "2020-01-31": True,
    "2020-02-29T23:59": True,
    "2000-02-29 00:00:59": True,
    "0001-01-01T00:00:00+23:59": True,
    "9999-12-31T23:59:59.123456789-12:00": True,
    "2020-01-31T14:05:00Z": True,
    "1900-02-29": False,
    "2021-02-29": False,
    "2020-13-01": False,
    "2020-04-31": False,
    "0000-01-01": False,
    "20200131": False,
    "2020-01-31T24:00": False,
    "2020-01-31T14:60": False,
    "2020-01-31T14:05:60": False,
    "2020-01-31T14": False,
    "2020-01-31T14:05:00.": False,
    "2020-01-31T14:05:00.1234567890": False,
    "2020-01-31T14:05.5": False,
    "2020-01-31T14:05:00+24:00": False,
    "2020-01-31T14:05:00+0100": False,
    "2020-01-31T14:05:00z": False,
    "2020-01-31Z": False,
    "2020-01-31 ": False,
    "31.01.2020": False,
    "٢٠٢٠-01-31": False,
    "2020-01-31T14:05:00Z" + "0" * 60: False,
}


@pytest.mark.parametrize(("signature", "body", "sentence"), REFUSED_ROWS, ids=range(len(REFUSED_ROWS)))
def test_wrong_rows_are_refused_with_the_same_sentence_by_router_and_handler(
    signature: Signature, body: bytes, sentence: str
) -> None:
    assert router(body, signature) == sentence
    assert handler(body, signature) == sentence


@pytest.mark.parametrize(("signature", "body"), GOOD_ROWS, ids=range(len(GOOD_ROWS)))
def test_good_rows_pass_both(signature: Signature, body: bytes) -> None:
    assert (router(body, signature), handler(body, signature)) == (None, None)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_point_in_time_is_one_to_router_and_handler_and_the_model_can_read_it(moment: str) -> None:
    body = row(values("since", moment))
    told = None if MOMENTS[moment] else f"inputs[0].data[0] {NO_MOMENT}"
    assert (router(body, TABLE), handler(body, TABLE)) == (told, told)
    if told is None:
        assert all(map(math.isfinite, moments(moment)))


# -- histories --------------------------------------------------------------------------------------------------------

HISTORY = Signature(
    inputs=[TensorSpec(name="history", datatype="BYTES", shape=[-1, -1], optional=True), column("user", "BYTES")],
    outputs=[
        TensorSpec(name="items", datatype="BYTES", shape=[-1, 10]),
        TensorSpec(name="scores", datatype="FP32", shape=[-1, 10]),
    ],
)


def taken(*data: Any, shape: Any) -> dict[str, Any]:
    return {"name": "history", "shape": shape, "datatype": "BYTES", "data": list(data)}


def _no_shape(shape: str, count: int) -> str:
    return f"inputs[0].shape is {shape}, expected [rows,values of a row] for {count} values."


REFUSED_HISTORIES: list[tuple[bytes, str]] = [
    (row(taken("a", "b", shape=[1, 3])), _no_shape("[1,3]", 2)),
    (row(taken("a", "b", shape=[2])), _no_shape("[2]", 2)),
    (row(taken(shape=[1, 0])), _no_shape("[1,0]", 0)),
    (row(taken("a", shape=[-1, -1])), _no_shape("[-1,-1]", 1)),
    (row(taken("a", shape=[1, "1"])), _no_shape("an array that holds '1'", 1)),
    (row(taken("a", shape=[1, 10**9])), _no_shape("[1,1000000000]", 1)),
    (row(taken("a", "b", "c", shape=[3, 1])), "inputs[0].data has 3 rows, expected 1 to 2 in one request."),
    (row(taken("a", 7, shape=[1, 2])), "inputs[0].data[1] is the number 7, expected a string."),
    (row(taken("a", "b", shape=[2, 1]), values("user", "u")),
     "inputs[1].data has 1 row and inputs[0].data 2. Send all rows in each."),
    (row(values("user", "u", shape=[1, 2])), "inputs[0].shape is [1,2], expected [1,1] for 1 row."),
    (row(values("item", "u")), "inputs[0].name is 'item', expected one of 'history', 'user'."),
]  # fmt: skip
GOOD_HISTORIES = [
    (row(taken("a", "b", "c", shape=[1, 3])), [(("a", "b", "c"), None)]),
    (row(taken(["a", "b"], ["c", ""], shape=[2, 2])), [(("a", "b"), None), (("c",), None)]),
    (row(taken("", shape=[1, 1]), values("user", "u")), [((), "u")]),
    (row(values("user", "u", "")), [(None, "u"), (None, None)]),
    (row(taken("a", "a", shape=[2, 1]), outputs=[{"name": "items"}]), [(("a",), None)] * 2),
]


@pytest.mark.parametrize(("body", "sentence"), REFUSED_HISTORIES, ids=range(len(REFUSED_HISTORIES)))
def test_wrong_histories_are_refused_with_the_same_sentence_by_router_and_handler(body: bytes, sentence: str) -> None:
    assert (router(body, HISTORY), handler(body, HISTORY)) == (sentence, sentence)


@pytest.mark.parametrize(("body", "rows"), GOOD_HISTORIES, ids=range(len(GOOD_HISTORIES)))
def test_good_histories_pass_both_and_are_read_row_by_row(body: bytes, rows: list[Any]) -> None:
    assert (router(body, HISTORY), handler(body, HISTORY)) == (None, None)
    assert v2.parse(body, v2.Signature(**HISTORY.wire()), MAX_BATCH_SIZE).rows == rows


# -- agreement --------------------------------------------------------------------------------------------------------

CHARACTERS = st.characters(codec=None, categories=None)
STRINGS = st.one_of(
    st.sampled_from(["text", "BYTES", "label", "probabilities", "", "binary_data"]), st.text(CHARACTERS)
)
NUMBERS = st.one_of(st.integers(-2, 3), st.integers(), st.floats(allow_nan=True), st.sampled_from([1e307, 10**308]))
WRITTEN_NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,12})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,9})?", fullmatch=True)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, STRINGS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(STRINGS, inner, max_size=3)),
    max_leaves=8,
)


def maybe(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly good, sometimes anything."""
    return st.integers(0, 9).flatmap(lambda dice: VALUES if dice == 0 else good)


PARAMETERS = maybe(
    st.dictionaries(
        st.sampled_from(["note", "binary_data", "priority", "triton_x", "a\0"]), maybe(st.just(False)), max_size=2
    )
)
TENSORS = st.fixed_dictionaries(
    {
        "name": maybe(st.just("text")),
        "datatype": maybe(st.just("BYTES")),
        "shape": maybe(st.sampled_from([[1, 1], [2, 1], [3, 1]])),
        "data": maybe(st.lists(maybe(st.one_of(st.text(), st.lists(st.text(), max_size=2))), min_size=1, max_size=3)),
    },
    optional={"parameters": PARAMETERS, "more": VALUES},
)
OUTPUTS = st.lists(
    maybe(
        st.fixed_dictionaries(
            {"name": maybe(st.sampled_from(["label", "probabilities"]))}, optional={"parameters": PARAMETERS}
        )
    ),
    max_size=3,
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": maybe(st.lists(maybe(TENSORS), min_size=1, max_size=1))},
    optional={"id": maybe(st.text()), "outputs": maybe(OUTPUTS), "parameters": PARAMETERS, "more": VALUES},
)


WRITTEN_MOMENTS = st.from_regex(
    r"[0129][09]\d\d-[01]\d-[0-3]\d([T ][0-2]\d:[0-6]\d(:[0-6]\d(\.\d{1,10})?)?(Z|[+-][0-2]\d:[0-6]\d)?)?",
    fullmatch=True,
)
COLUMNS = st.fixed_dictionaries(
    {
        "name": maybe(st.sampled_from(["age", "job", "since"])),
        "datatype": maybe(st.sampled_from(["FP64", "BYTES"])),
        "shape": maybe(st.sampled_from([[1, 1], [2, 1]])),
        "data": maybe(
            st.lists(maybe(st.one_of(st.floats(-1e39, 1e39), st.text(), WRITTEN_MOMENTS)), min_size=1, max_size=2)
        ),
    }
)
ROWS = st.fixed_dictionaries({"inputs": maybe(st.lists(COLUMNS, min_size=1, max_size=3))})


HISTORIES = st.fixed_dictionaries(
    {
        "inputs": maybe(
            st.lists(
                st.fixed_dictionaries(
                    {
                        "name": maybe(st.sampled_from(["history", "history", "user"])),
                        "datatype": maybe(st.just("BYTES")),
                        "shape": maybe(st.lists(st.integers(0, 3), min_size=2, max_size=2)),
                        "data": maybe(
                            st.lists(maybe(st.one_of(st.text(), st.lists(st.text(), max_size=2))), max_size=4)
                        ),
                    }
                ),
                min_size=1,
                max_size=2,
            )
        )
    }
)


@st.composite
def bodies(draw: st.DrawFn, requests: st.SearchStrategy[Any]) -> bytes:
    """A request as JSON, sometimes with bytes changed."""
    text = json.dumps(draw(requests), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 2))] = draw(
            st.one_of(st.binary(max_size=2), st.sampled_from([b'"', b"\\", b",", b"0", b"e5", b"\\ud83d", b'"a":1,']))
        )
    return bytes(body)


@settings(max_examples=500, deadline=None)
@given(bodies(REQUESTS), st.just(TEXT_SIGNATURE))
def test_router_and_handler_agree_on_every_request(body: bytes, signature: Signature) -> None:
    check_agreement(body, signature)


@settings(max_examples=500, deadline=None)
@given(bodies(ROWS), st.just(TABLE))
def test_router_and_handler_agree_on_every_request_of_rows(body: bytes, signature: Signature) -> None:
    check_agreement(body, signature)


@settings(max_examples=500, deadline=None)
@given(bodies(HISTORIES), st.just(HISTORY))
def test_router_and_handler_agree_on_every_request_of_histories(body: bytes, signature: Signature) -> None:
    check_agreement(body, signature)


@settings(max_examples=1000, deadline=None)
@given(WRITTEN_MOMENTS)
def test_router_and_handler_agree_on_every_point_in_time(moment: str) -> None:
    body = row(values("since", moment))
    told = router(body, TABLE)
    assert told == handler(body, TABLE)
    if told is None:
        assert all(map(math.isfinite, moments(moment)))


def check_agreement(body: bytes, signature: Signature) -> None:
    told, expected = router(body, signature), handler(body, signature)
    assert (told is None) == (expected is None), (told, expected)
    if told != expected:
        # A body that breaks several rules at once: a reader that stops at the first byte names another one.
        reading = (
            *SYNTAX,
            "A field's name",
            "The body has the field",
            "The body nests",
            "The body holds",
            "A number in the body",
        )
        assert told is not None and told.startswith(reading), (told, expected)
        assert expected is not None and expected.startswith(reading), (told, expected)


@settings(max_examples=300, deadline=None)
@given(WRITTEN_NUMBERS)
def test_router_and_handler_agree_on_every_way_to_write_a_number(number: str) -> None:
    assert router(with_value(number)) == handler(with_value(number))


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_the_strict_reader_takes_exactly_the_json_that_python_writes(value: Any) -> None:
    body = with_value(json.dumps(value))
    assert (router(body) is None) == (handler(body) is None)


# -- images -----------------------------------------------------------------------------------------------------------

IMAGES = Signature(
    inputs=[TensorSpec(name="image", datatype="BYTES", shape=[-1, 1], content="image")],
    outputs=TEXT_SIGNATURE.outputs,
)
NO_BASE64 = (
    "is no base64. Send 'image' as the base64 text of a JPEG or PNG file, with its padding and without line breaks."
)


def pictures(*data: Any, **fields: Any) -> bytes:
    tensor = {"name": "image", "shape": [len(data), 1], "datatype": "BYTES", "data": list(data), **fields}
    return json.dumps({"inputs": [tensor]}).encode()


REFUSED_IMAGES: list[tuple[bytes, str]] = [
    (b"{}", "inputs is missing, expected an array of one tensor named 'image'."),
    (pictures(), "inputs[0].data has 0 images, expected 1 to 2 in one request."),
    (pictures(*["eHg="] * 3), "inputs[0].data has 3 images, expected 1 to 2 in one request."),
    (pictures("eHg=", shape=[2, 1]), "inputs[0].shape is [2,1], expected [1,1] for 1 image."),
    (pictures("eHg=", name="text"), "inputs[0].name is 'text', expected 'image'."),
    (pictures(7), "inputs[0].data[0] is the number 7, expected a string."),
    (pictures(None), "inputs[0].data[0] is null, expected a string."),
    (pictures({"b64": "eHg="}), "inputs[0].data[0] is an object, expected a string."),
    *((pictures("eHg=", text), f"inputs[0].data[1] {NO_BASE64}") for text in (
        *("", "eHg", "eHg==", "=", "====", "e===", "eH=g", "eHg=eHg=", "eH g", "eHg=\n", "\neHg=", "eH-_", "eHgé"),
        *("data:image/png;base64,eHg=", "\0" * 4, "汉" * 4, "\\u002b", "eHg\\"),
    )),
    (pictures(["eHg"]), f"inputs[0].data[0][0] {NO_BASE64}"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "sentence"), REFUSED_IMAGES, ids=range(len(REFUSED_IMAGES)))
def test_a_wrong_image_is_refused_with_the_same_sentence_by_router_and_handler(body: bytes, sentence: str) -> None:
    assert router(body, IMAGES) == sentence
    assert handler(body, IMAGES) == sentence


@pytest.mark.parametrize("data", [b"x", b"xx", b"xxx", bytes(range(256)), b"\xfb\xff\xfe" * 3])
def test_base64_passes_both_however_json_writes_it(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    plain = pictures(text)
    other = text.replace("/", "\\/").replace("+", "\\u002B").replace("=", "\\u003d")
    escaped = plain.replace(text.encode(), other.encode())
    for body in (plain, escaped, pictures([text])):
        assert (router(body, IMAGES), handler(body, IMAGES)) == (None, None)
        assert v2.parse(body, v2.Signature(**IMAGES.wire()), MAX_BATCH_SIZE).rows == [data]


@given(st.text(max_size=12) | st.text("ab+/=\\u2", max_size=12))
@settings(max_examples=300, deadline=None)
def test_router_and_handler_agree_on_what_is_base64(text: str) -> None:
    body = pictures(text)
    assert router(body, IMAGES) == handler(body, IMAGES)


def test_an_image_of_megabytes_is_read_in_milliseconds() -> None:
    body = pictures(base64.b64encode(b"x" * 3_000_000).decode())
    began = time.perf_counter()
    assert router(body, IMAGES) is None
    assert time.perf_counter() - began < 1


def test_the_largest_default_request_holds_an_image_of_three_quarters_of_its_bytes() -> None:
    body = pictures(base64.b64encode(b"x" * 780_000).decode())
    assert len(body) < Route().max_request_bytes
