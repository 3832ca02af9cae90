"""Sends requests to routers and compares what they answer: no 5xx, the same on every server, good requests unharmed."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from serving.bodies import Request

from kaon_jobs.runtime import v2

TIMEOUT_SECONDS = 30
TOLERANCE = 1e-4
"""Largest difference of a probability, where nothing but the order of a sum can differ."""
Predict = Callable[[list[Any]], dict[str, list[Any]]]
"""Texts, or rows of a table, to the values of each output, one row after the other."""


@dataclass(frozen=True)
class Target:
    """A model behind its router."""

    host: str
    port: int
    model: str


@dataclass(frozen=True)
class Expected:
    """What the right answers are."""

    predict: Predict
    max_batch_size: int
    signature: v2.Signature
    good: Sequence[dict[str, Any]]
    """Good requests, to be sent beside."""
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def content(self) -> Any:
        """The body as JSON, or its text."""
        try:
            return json.loads(self.body)
        except ValueError:
            return self.body.decode(errors="replace")


class Client:
    """One connection to a router, opened again when it was closed."""

    def __init__(self, target: Target) -> None:
        self._address = (target.host, target.port)
        self._model = f"/v2/models/{target.model}"
        self._connection: http.client.HTTPConnection | None = None

    def send(self, request: Request) -> Answer:
        """The answer to a request.

        Raises:
            OSError, http.client.HTTPException: there is none.
        """
        try:
            return self._send(request)
        except (ConnectionError, http.client.BadStatusLine):
            # The router may close a connection that it has refused something on, while the next request is under way.
            self.close()
            return self._send(request)

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, request: Request) -> Answer:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_SECONDS)
        connection, body = self._connection, request.body
        path = request.path.replace("{infer}", f"{self._model}/infer").replace("{model}", self._model)
        connection.putrequest(request.method, path)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        if request.chunked and body is not None:
            connection.putheader("transfer-encoding", "chunked")
            connection.endheaders(_chunks(body), encode_chunked=True)
        else:
            if body is not None and "transfer-encoding" not in request.headers:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
        response = connection.getresponse()
        answer = Answer(response.status, response.read())
        if response.will_close:
            self.close()
        return answer


def _chunks(body: bytes) -> Iterable[bytes]:
    for at in range(0, len(body), 1000):
        yield body[at : at + 1000]


@dataclass
class Report:
    """What was seen."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    good: Counter[str] = field(default_factory=Counter)
    """Good requests sent beside the hostile ones, by server."""

    def __str__(self) -> str:
        statuses = ", ".join(f"{count} × {status}" for status, count in sorted(self.statuses.items()))
        beside = ", ".join(f"{server} {count}" for server, count in sorted(self.good.items()))
        lines = [f"{self.sent} requests to each server: {statuses}", f"good requests beside them: {beside}"]
        return "\n".join([*lines, f"{len(self.wrong)} wrong", *self.wrong[:50]])


def against(targets: Mapping[str, Target], requests: Iterable[Request], expected: Expected) -> Report:
    """Sends each request to every target while others send good requests."""
    report, end = Report(), threading.Event()
    clients = {name: Client(target) for name, target in targets.items()}
    paths = {name: f"/v2/models/{target.model}/" for name, target in targets.items()}
    with ThreadPoolExecutor(len(targets)) as pool:
        beside = [
            pool.submit(_good_requests, name, Client(target), expected, end, report) for name, target in targets.items()
        ]
        try:
            for request in requests:
                answers = {name: _answer(client, request, report) for name, client in clients.items()}
                report.sent += 1
                for problem in problems(request, answers, paths, expected):
                    shown = f"{request.method} {request.path} {request.body!r:.300}"
                    report.wrong.append(f"{request.name}: {problem}; {shown}")
        finally:
            end.set()
    for sender in beside:
        sender.result()
    for client in clients.values():
        client.close()
    return report


def _answer(client: Client, request: Request, report: Report) -> Answer:
    try:
        answer = client.send(request)
    except (OSError, http.client.HTTPException) as error:
        client.close()
        return Answer(0, repr(error).encode())
    report.statuses[answer.status] += 1
    return answer


def problems(
    request: Request, answers: Mapping[str, Answer], paths: Mapping[str, str], expected: Expected
) -> Iterable[str]:
    """What is wrong with the answers to one request. paths: where each model is, which is no difference."""
    for name, answer in answers.items():
        if answer.status == 0 or answer.status >= 500:
            yield f"{name} answers {answer.status} {answer.content}"
        if answer.status >= 400 and request.method != "HEAD" and not _tells(answer):
            yield f"{name} answers {answer.status} without a sentence: {answer.content}"
    statuses = {name: answer.status for name, answer in answers.items()}
    if len(set(statuses.values())) > 1:
        yield f"other answers: { ({name: (answer.status, answer.content) for name, answer in answers.items()}) }"
        return
    refused = {str(answer.content).replace(paths[name], "") for name, answer in answers.items() if answer.status >= 400}
    if len(refused) > 1:
        yield f"other sentences: {refused}"
    if not request.judged_by_its_body or 413 in statuses.values():
        return
    parsed = _parsed(request.body or b"", expected)
    for name, answer in answers.items():
        if isinstance(parsed, v2.Refusal) != (answer.status == 400):
            yield f"{name} answers {answer.status} {answer.content}, expected {parsed}"
        elif answer.status == 200 and isinstance(parsed, v2.Inference):
            yield from (f"{name}: {problem}" for problem in differences(answer.content, parsed, expected))


def _tells(answer: Answer) -> bool:
    content = answer.content
    return isinstance(content, dict) and set(content) == {"error"} and str(content["error"]).strip("-") != ""


def _parsed(body: bytes, expected: Expected) -> v2.Inference | v2.Refusal:
    try:
        return v2.parse(body, expected.signature, expected.max_batch_size)
    except v2.Refusal as refusal:
        return refusal


def differences(content: Any, inference: v2.Inference, expected: Expected) -> Iterable[str]:
    """In what an answer of status 200 is not the right one."""
    outputs = {item["name"]: item for item in content["outputs"]}
    if sorted(outputs) != sorted(inference.outputs):
        yield f"outputs {sorted(outputs)}, asked for {inference.outputs}"
    if content.get("id") != inference.request_id:
        yield f"id {content.get('id')!r}, sent {inference.request_id!r}"
    for name, wanted in expected.predict(inference.rows).items():
        if name not in outputs:
            continue
        told = outputs[name]["data"]
        if len(told) != len(wanted):
            yield f"{len(told)} values of {name}, expected {len(wanted)}"
        elif name == "label":
            continue  # of two classes that are as likely either is right
        elif told != wanted if isinstance(wanted[0], str) else max(map(_distance, told, wanted)) > expected.tolerance:
            yield f"{name} {told}, expected {wanted}"


def _distance(one: float, other: float) -> float:
    """Absolute, and relative between numbers above 1, of which predictions are."""
    return abs(one - other) / max(1.0, abs(other))


def _good_requests(name: str, client: Client, expected: Expected, end: threading.Event, report: Report) -> None:
    number = 0
    while not end.is_set():
        number += 1
        request = Request("beside", json.dumps(expected.good[number % len(expected.good)]).encode())
        inference = v2.parse(request.body or b"", expected.signature, expected.max_batch_size)
        try:
            answer = client.send(request)
        except (OSError, http.client.HTTPException) as error:
            report.wrong.append(f"{name} gives no answer to a good request: {error!r}")
            client.close()
            continue
        if answer.status != 200:
            report.wrong.append(f"{name} answers a good request with {answer.status} {answer.content}")
        else:
            told = differences(answer.content, inference, expected)
            report.wrong.extend(f"{name}, a good request: {problem}" for problem in told)
        report.good[name] += 1
        time.sleep(0.005)
    client.close()
