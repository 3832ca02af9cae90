"""Requests as clients send them, wrong in every way that we know of, and some good ones that look odd.

Pure: the same seed and index give the same request. Each has a name that says what is special about it.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kaon.api.signature import TEXT_SIGNATURE, Signature

WORDS = ("profit", "shares", "tariff", "the", "company", "dollar")
CELLS: dict[str, list[Any]] = {
    "FP64": [41, -1.5, 0, -0.0, 1e-300, 1e30, 2**40],
    "BYTES": ["teacher", "baker", "pilot", "", "\0", "汉" * 40],
    "datetime": ["2020-01-31", "1969-12-31T23:59:30+02:00", "0001-01-01T00:00:00+14:00", "9999-12-31 00:00", ""],
}
"""Good values of each kind of column."""
ODD_CELLS = [
    "soon",
    "2020-02-30",
    "2020-01-31T24:00",
    "20200131",
    3.5e38,
    -1e300,
    None,
    "41",
    True,
    [],
    ["", ""],
    2**70,
]
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    name: str
    body: bytes | None
    method: str = "POST"
    path: str = "{infer}"
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    chunked: bool = False

    @property
    def judged_by_its_body(self) -> bool:
        """Whether nothing but the body decides on the answer."""
        decided = {"content-encoding", "inference-header-content-length", "transfer-encoding", "upgrade"}
        # Envoy refuses what calls itself gRPC in the way of gRPC: status 200, and the sentence in a header.
        if decided & self.headers.keys() or self.headers.get("content-type") == "application/grpc":
            return False
        return self.method == "POST" and self.path.split("?")[0] == "{infer}"


def make(
    seed: int, index: int, *, max_batch_size: int, max_bytes: int, signature: Signature = TEXT_SIGNATURE
) -> Request:
    """The request of that number, to a model of that signature."""
    rng = random.Random(f"{seed}/{index}")
    if signature.is_table:
        return of_rows(rng, signature, max_batch_size)
    kind = rng.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0]
    return kind(rng, max_batch_size, max_bytes)


def good(rng: random.Random, max_batch_size: int) -> dict[str, Any]:
    """A good request as an object."""
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(12))) for _ in range(rng.randint(1, max_batch_size))]
    data: list[Any] = [[text] for text in texts] if rng.random() < 0.3 else texts
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts), 1], "data": data}
    request: dict[str, Any] = {"inputs": [tensor]}
    if rng.random() < 0.5:
        request["id"] = rng.choice(["", "7", "a" * 40, "ключ", '"\\/\b', "\x7f"])
    if rng.random() < 0.5:
        names = rng.sample(["label", "probabilities"], rng.randint(0, 2))
        request["outputs"] = [{"name": name} for name in names]
    return request


def good_rows(rng: random.Random, signature: Signature, max_batch_size: int) -> dict[str, Any]:
    """A good request of rows: some of the columns, in any order."""
    count = rng.randint(1, max_batch_size)
    columns = rng.sample(signature.inputs, rng.randint(1, len(signature.inputs)))
    tensors = []
    for column in columns:
        wide = rng.randint(1, 5) if column.varies else 1
        values = [rng.choice(CELLS[column.kind]) for _ in range(count * wide)]
        rows = [values[at : at + wide] for at in range(0, len(values), wide)]
        data = rows if rng.random() < 0.3 else values
        tensors.append({"name": column.name, "datatype": column.datatype, "shape": [count, wide], "data": data})
    request: dict[str, Any] = {"inputs": tensors}
    if rng.random() < 0.5:
        names = [tensor.name for tensor in signature.outputs]
        request["outputs"] = [{"name": name} for name in rng.sample(names, rng.randint(0, len(names)))]
    return request


def beside(signature: Signature) -> list[dict[str, Any]]:
    """Some good requests of one row or text."""
    if signature.is_table:
        return [good_rows(random.Random(number), signature, 1) for number in range(8)]
    texts = ["the company profit", "tariff dollar", "", "shares"]
    return [{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [text]}]} for text in texts]


def of_rows(rng: random.Random, signature: Signature, max_batch_size: int) -> Request:
    """Good rows, or with one thing wrong: a value, a column that is unknown or there twice, another number of rows."""
    request = good_rows(rng, signature, max_batch_size)
    tensors = request["inputs"]
    what = rng.choice(["good", "value", "cell", "column", "rows", "datatype", "bytes"])
    if what == "value":
        holder: Any = request
        *path, last = rng.choice(list(places(request)))
        for step in path:
            holder = holder[step]
        holder[last] = hostile_value(rng, 3)
    elif what == "cell":
        tensor = rng.choice(tensors)
        tensor["data"][0] = rng.choice([*ODD_CELLS, hostile_value(rng, 1)])
    elif what == "column":
        tensors.append({**rng.choice(tensors), "name": rng.choice(["other", "", tensors[0]["name"]])})
    elif what == "rows":
        tensor = rng.choice(tensors)
        count = rng.choice([0, 1, 2, max_batch_size, max_batch_size + 1])
        tensor |= {"data": (tensor["data"] * count)[:count], "shape": [count, 1]}
    elif what == "datatype":
        rng.choice(tensors)["datatype"] = rng.choice(["FP64", "BYTES", "FP32", "INT64", "BOOL", ""])
    body = bytearray(text_of(rng, request, escapes=rng.random() < 0.2))
    if what == "bytes":
        body[rng.randrange(len(body))] = rng.choice(b'"{}[],:\\ u0')
    return Request(f"rows: {what}", bytes(body))


# -- kinds ------------------------------------------------------------------------------------------------------------


def odd_but_good(rng: random.Random, max_batch_size: int, max_bytes: int) -> Request:
    """Good requests that a careless reader refuses."""
    request = good(rng, max_batch_size)
    tensor = request["inputs"][0]
    what = rng.choice(["plain", "texts", "parameters", "unknown fields", "spaces", "escapes", "type"])
    if what == "texts":
        odd = [
            "",
            " ",
            "\x00",
            "a\x00b",
            "\u2028",
            "\ufeff",
            "\U0001f600",
            "汉字" * 50,
            "\x7f",
            "e\u0301",
            "\ufffe",
            "\t\n",
        ]
        texts = rng.choices([*odd, "dollar " * rng.randrange(2000)], k=rng.randint(1, max_batch_size))
        tensor |= {"data": texts, "shape": [len(texts), 1]}
    elif what == "parameters":
        holder = rng.choice([request, tensor, *request.get("outputs", [])])
        value = rng.choice([1, -2.5, True, False, "x", 1e300, 2**70, ""])
        holder["parameters"] = rng.choice(
            [{}, {"content_type": "str"}, {"trace": value}, {"binary_data_output": False}]
        )
    elif what == "unknown fields":
        rng.choice([request, tensor])[rng.choice(["model_name", "", "Inputs", "\x00"])] = hostile_value(rng, 3)
    body = text_of(rng, request, escapes=what == "escapes", spaces=what == "spaces")
    headers = dict(JSON)
    if what == "type":
        odd_types = [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/octet-stream",
            "multipart/form-data",
        ]
        headers = rng.choice(
            [{}, *({"content-type": name} for name in [*odd_types, "application/json; charset=utf-16"])]
        )
    query = rng.choice(["", "", "", "?body=1", "?data=x&body=[]", "?"])
    chunked = rng.random() < 0.2
    return Request(f"good: {what}", body, path="{infer}" + query, headers=headers, chunked=chunked)


def wrong_value(rng: random.Random, max_batch_size: int, max_bytes: int) -> Request:
    """One value anywhere in a good request is another, is missing or is there twice."""
    request = good(rng, max_batch_size)
    if rng.random() < 0.3:
        request["parameters"] = {"note": "x"}
    path = rng.choice(list(places(request)))
    holder = request
    for step in path[:-1]:
        holder = holder[step]
    last, what = path[-1], rng.choice(["value", "value", "value", "missing", "twice", "renamed"])
    if what == "value":
        holder[last] = hostile_value(rng, 4)
    elif what == "missing":
        del holder[last]
    elif what == "twice" and isinstance(holder, dict):
        return Request(f"twice: {path}", text_of(rng, request, twice=(holder, last)))
    elif isinstance(holder, dict):
        holder[rng.choice([last.upper(), last + "s", "\x00" + last, last[:-1]])] = holder.pop(last)
    else:
        holder.insert(last, hostile_value(rng, 2))
    return Request(f"{what}: {path}", text_of(rng, request))


def wrong_meaning(rng: random.Random, max_batch_size: int, max_bytes: int) -> Request:
    """Right types, and figures that do not fit each other."""
    request = good(rng, max_batch_size)
    tensor = request["inputs"][0]
    count = tensor["shape"][0]
    what = rng.choice(["shape", "batch", "datatype", "output", "parameter", "tensors"])
    if what == "shape":
        wrong: list[Any] = [[count], [1, count], [count, 2], [count, 1, 1], [], [-1, 1], [count + 1, 1], [2**63, 1]]
        tensor["shape"] = rng.choice(
            [*wrong, [2**64, 1], [float(count), 1], [True, 1], [str(count), 1], [0, 1], [-0.0, 1]]
        )
    elif what == "batch":
        texts = ["profit"] * rng.choice([0, max_batch_size + 1, max_batch_size * 3, 20_000])
        tensor |= {"data": texts, "shape": [len(texts), 1]}
    elif what == "datatype":
        tensor["datatype"] = rng.choice(["FP32", "INT64", "bytes", "STRING", "", "BYTES ", "BOOL"])
    elif what == "output":
        names = ["logits", "", "label ", "Label", "label", "label", "probabilities", "\x00label"]
        request["outputs"] = [{"name": name} for name in rng.choices(names, k=rng.randint(1, 4))]
    elif what == "parameter":
        holder = rng.choice([request, tensor, *request.get("outputs", [])])
        name = rng.choice(PARAMETERS)
        holder["parameters"] = {name: rng.choice([1, 0, -1, True, "x", 2**63, 1.5, "region"])}
    else:
        request["inputs"] *= rng.choice([0, 2, 5])
    return Request(f"meaning: {what}", text_of(rng, request))


def broken_bytes(rng: random.Random, max_batch_size: int, max_bytes: int) -> Request:
    """A good body with bytes changed, cut out, put in or cut off."""
    body = bytearray(text_of(rng, good(rng, max_batch_size), escapes=rng.random() < 0.2))
    what = rng.choice(["flip", "delete", "insert", "cut", "splice", "after"])
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(body) + 1)
        if what == "flip" and at < len(body):
            body[at] = rng.choice([body[at] ^ 1 << rng.randrange(8), rng.randrange(256), *b'"{}[],:\\ u0'])
        elif what == "delete":
            del body[at : at + rng.randint(1, 5)]
        elif what == "insert":
            body[at:at] = rng.choice(
                [b'"', b"\\", b"\x00", b"\xff", b",", b"//x\n", b"\xed\xa0\x80", b"\xc0\x80", b"'", b"\\ud83d"]
            )
    if what == "cut":
        del body[rng.randrange(len(body)) :]
    elif what == "splice":
        body[rng.randrange(len(body)) :] = body[rng.randrange(len(body)) :]
    elif what == "after":
        body += rng.choice([b"x", b"{}", b"\x00", b",", b"\n\n\xff", b" \t\r\n"])
    return Request(f"bytes: {what}", bytes(body))


def another_text(rng: random.Random, max_batch_size: int, max_bytes: int) -> Request:
    """Bodies that are no request at all, or one in another encoding."""
    request = good(rng, max_batch_size)
    plain = json.dumps(request, ensure_ascii=False)
    depth = rng.choice([31, 32, 33, 100, 5000, max_bytes // 3])
    inside = json.dumps({**request, "extra": "@"}).replace('"@"', "[" * depth + "]" * depth)
    numbers = [
        *("0e400", "1e2000000", "1e-2000000", "0.0e308", "1" * 320 + "e-100", "1" * 307 + "e-1", "9.9e307", "0e307"),
        "1e308",
        "1e309",
        "-1e999",
        "1" * 400,
        "0." + "1" * 400,
        "1e-999",
        "-0",
        "01",
        "+1",
        ".5",
        "1.",
        "0x1",
        "1e",
        "-",
    ]
    odd = [
        "NaN",
        "Infinity",
        "-Infinity",
        "null",
        "true",
        "3",
        '"x"',
        "[]",
        "{}",
        "",
        " ",
        "undefined",
        "'a'",
        "{'a':1}",
    ]
    bodies: dict[str, bytes] = {
        "empty": b"",
        "odd": rng.choice(odd).encode(),
        "form": b"inputs=x&data=y",
        "xml": b"<?xml version='1.0'?><a/>",
        "bom": b"\xef\xbb\xbf" + plain.encode(),
        "utf-16": plain.encode("utf-16"),
        "utf-16 without a mark": plain.encode("utf-16-le"),
        "utf-32": plain.encode("utf-32"),
        "latin-1": json.dumps(request | {"id": "é"}, ensure_ascii=False).encode("latin-1", "replace"),
        "gb18030": json.dumps(request | {"id": "汉"}, ensure_ascii=False).encode("gb18030"),
        "compressed": gzip.compress(plain.encode(), mtime=0),
        "arrays": b"[" * depth,
        "closed arrays": b"[" * depth + b"]" * depth,
        "objects": b'{"a":' * min(depth, max_bytes // 6) + b"1",
        "deep inside": inside.encode(),
        "commas": b"[" + b"1," * (max_bytes // 4) + b"1]",
        "number": json.dumps({**request, "extra": "@"}).replace('"@"', rng.choice(numbers)).encode(),
        "value": json.dumps({**request, "extra": "@"}).replace('"@"', rng.choice(odd)).encode(),
        "random": rng.randbytes(rng.randrange(200)),
        "long name": json.dumps({"x" * (max_bytes // 2): 1, **request}).encode(),
        "long number": b'{"a":' + b"1" * (max_bytes // 2) + b"}",
    }
    name = rng.choice(sorted(bodies))
    return Request(f"text: {name}", bodies[name])


def surrogates(rng: random.Random, max_batch_size: int, max_bytes: int) -> Request:
    """Halves of surrogate pairs, as escapes, anywhere."""
    half = rng.choice(
        ["\\ud800", "\\udfff", "\\udc00\\ud800", "\\ud83d", "\\uD83Dx", "\\ud83d\\u0041", "\\ud83d\\ude00"]
    )
    request = good(rng, max_batch_size)
    holder = rng.choice(["data", "id", "name", "key"])
    if holder == "data":
        request["inputs"][0] |= {"data": ["@"], "shape": [1, 1]}
    elif holder == "name":
        request["inputs"][0]["name"] = "text@"
    else:
        request["id" if holder == "id" else "@"] = "@"
    return Request(f"surrogate: {holder}", json.dumps(request).replace("@", half).encode())


def headers(rng: random.Random, max_batch_size: int, max_bytes: int) -> Request:
    """Headers that say something else than the body is."""
    body = json.dumps(good(rng, max_batch_size)).encode()
    compressed = gzip.compress(body, mtime=0)
    length = rng.choice([0, len(body), len(body) // 2, -1, 2**63, "x"])
    choices: list[tuple[str, dict[str, str], bytes]] = [
        ("binary extension", {"inference-header-content-length": str(length)}, body),
        ("binary extension with data", {"inference-header-content-length": str(len(body))}, body + b"\4\0\0\0text"),
        ("gzip", {"content-encoding": "gzip"}, compressed),
        ("gzip that is none", {"content-encoding": "gzip"}, body),
        ("unknown encoding", {"content-encoding": rng.choice(["br", "zstd", "x", "identity, gzip"])}, body),
        ("grpc", {"content-type": "application/grpc"}, rng.choice([body, b"{", b""])),
        ("purpose", {"x-kaon-request": rng.choice(["ready", "metadata"])}, b"{"),
        ("form", {"content-type": "application/x-www-form-urlencoded"}, b"data=1"),
        ("multipart", {"content-type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\n1\r\n--x--"),
        ("timeouts", {"x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-max-retries": "9"}, b"null"),
        ("expectation", {"expect": "100-continue"}, b"{"),
        ("upgrade", {"connection": "upgrade", "upgrade": "websocket"}, body),
        ("transfer encoding", {"transfer-encoding": "gzip"}, body),
    ]
    name, added, sent = rng.choice(choices)
    return Request(f"headers: {name}", sent, headers={**JSON, **added})


def elsewhere(rng: random.Random, max_batch_size: int, max_bytes: int) -> Request:
    """Wrong methods and paths."""
    body = rng.choice([None, b"", b"{", json.dumps(good(rng, max_batch_size)).encode()])
    method = rng.choice(["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "POST", "TRACE", "PROPFIND"])
    paths = [
        *(
            "{infer}",
            "{model}",
            "{model}/ready",
            "/v2/health/ready",
            "/v2/health/live",
            "{infer}/",
            "{model}/versions/1/infer",
        ),
        *(
            "{model}/stats",
            "{model}/config",
            "{model}/generate",
            "{model}/versions/1",
            "/v2",
            "/",
            "/v2/repository/index",
        ),
        *(
            "/v2/models/other/infer",
            "/predictions/m",
            "/models",
            "/metrics",
            "/stats",
            "//v2//models/../models/m/infer",
        ),
        *(
            "/v2/models/%6d/infer",
            "/v2/models/m%2Finfer",
            "/v2/repository/models/m/unload",
            "/v1/models/m:predict",
            "{infer}%00",
        ),
    ]
    return Request(f"elsewhere: {method}", body, method=method, path=rng.choice(paths))


def large(rng: random.Random, max_batch_size: int, max_bytes: int) -> Request:
    """Bodies about as large as the router allows."""
    frame = len(json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [""]}]}))
    size = max_bytes - frame + rng.choice([-1000, -1, 0, 1, 1000, max_bytes])
    tensor = {
        "name": "text",
        "datatype": "BYTES",
        "shape": [1, 1],
        "data": ["profit " * (size // 7) + "x" * (size % 7)],
    }
    return Request("large", json.dumps({"inputs": [tensor]}).encode(), chunked=rng.random() < 0.5)


KINDS: list[tuple[Callable[[random.Random, int, int], Request], int]] = [
    (odd_but_good, 15),
    (wrong_value, 30),
    (wrong_meaning, 12),
    (broken_bytes, 20),
    (another_text, 10),
    (surrogates, 5),
    (headers, 5),
    (elsewhere, 5),
    (large, 1),
]

PARAMETERS = (
    *("binary_data", "binary_data_output", "binary_data_size", "classification", "priority", "timeout", "sequence_id"),
    *("sequence_start", "sequence_end", "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"),
    *("triton_enable_empty_final_response", "triton_x", "headers", "note"),
)


def hostile_value(rng: random.Random, depth: int) -> Any:
    """A value of any type."""
    simple: list[Any] = [
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        2**64,
        1.5,
        -0.0,
        1e300,
        "",
        "text",
        "x" * 100,
        "\x00",
    ]
    if depth == 0 or rng.random() < 0.7:
        return rng.choice(simple)
    inner = [hostile_value(rng, depth - 1) for _ in range(rng.randrange(3))]
    return inner if rng.random() < 0.5 else {f"k{number}": value for number, value in enumerate(inner)}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value below this one."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def text_of(
    rng: random.Random,
    value: Any,
    *,
    escapes: bool = False,
    spaces: bool = False,
    twice: tuple[Any, Any] | None = None,
) -> bytes:
    """JSON, written as clients do.

    escapes: every character as \\uXXXX. twice: the object and the key that is written two times.
    """

    def string(text: str) -> str:
        if escapes:
            units = text.encode("utf-16-be", "surrogatepass")
            return '"' + "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2)) + '"'
        return json.dumps(text, ensure_ascii=rng.random() < 0.5)

    def space() -> str:
        return rng.choice(["", " ", "\n", "\r\n", "\t  "]) if spaces else ""

    def write(item: Any) -> str:
        if isinstance(item, str):
            return space() + string(item) + space()
        if isinstance(item, list):
            return space() + "[" + (",".join(map(write, item)) or space()) + "]" + space()
        if isinstance(item, dict):
            fields = [f"{write(key)}:{write(inner)}" for key, inner in item.items()]
            if twice is not None and item is twice[0]:
                fields.append(f"{write(twice[1])}:{write(hostile_value(rng, 1))}")
            return space() + "{" + (",".join(fields) or space()) + "}" + space()
        return space() + json.dumps(item) + space()

    return write(value).encode("utf-8", "surrogatepass")
