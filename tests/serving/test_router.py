"""A real Envoy as the operator configures it: wrong requests end there, with a sentence, and no server counts them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving import bodies, model, run, servers
from serving.bodies import Request
from serving.upstream import LATE, Upstream, upstream

from kaon.api.modeldeployment import Route

MAX_BATCH_SIZE = 4
MAX_BYTES = 65536
SERVERS = ("triton", "torchserve")
GOOD = json.dumps(servers.request(["the company profit"])).encode()


@dataclass(frozen=True)
class Stand:
    """A router for each server, and one server behind both."""

    routers: dict[str, servers.Router]
    server: Upstream
    expected: run.Expected

    def ask(self, request: Request, server: str = "triton") -> run.Answer:
        client = run.Client(run.Target("127.0.0.1", self.routers[server].port, servers.MODEL))
        try:
            return client.send(request)
        finally:
            client.close()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("stand")
    expected = model.expected(folder / "model", MAX_BATCH_SIZE)
    route = Route(max_request_bytes=MAX_BYTES, timeout_seconds=60)
    with (
        upstream(expected) as server,
        servers.router(
            folder / "a", "triton", server.server_port, max_batch_size=MAX_BATCH_SIZE, route=route
        ) as triton,
        servers.router(
            folder / "b", "torchserve", server.server_port, max_batch_size=MAX_BATCH_SIZE, route=route
        ) as torchserve,
    ):
        yield Stand({"triton": triton, "torchserve": torchserve}, server, expected)


def test_hostile_requests_never_reach_a_server_and_good_ones_beside_them_are_answered(stand: Stand) -> None:
    requests = [bodies.make(11, index, max_batch_size=MAX_BATCH_SIZE, max_bytes=MAX_BYTES) for index in range(500)]
    targets = {name: run.Target("127.0.0.1", router.port, servers.MODEL) for name, router in stand.routers.items()}
    report = run.against(targets, requests, stand.expected)
    assert report.wrong == [], str(report)
    assert stand.server.refused == []
    assert all(report.good[name] > 50 for name in SERVERS)
    for router in stand.routers.values():
        counted = router.counters("upstream_rq_4xx", "upstream_rq_5xx", "lua.errors", "http.traffic.downstream_rq_4xx")
        assert (counted["upstream_rq_4xx"], counted["upstream_rq_5xx"], counted["lua.errors"]) == (0, 0, 0)
        # What operators look at to see clients that send wrong requests.
        assert counted["http.traffic.downstream_rq_4xx"] > 250


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "The body is not JSON: it ends before a field's name in quotes. Send it whole."),
        (GOOD.replace(b'"the company profit"', b"null"), "inputs[0].data[0] is null, expected a string."),
        (GOOD.replace(b'"the company profit"', b"3"), "inputs[0].data[0] is the number 3, expected a string."),
        (
            GOOD.replace(b"company", b"\\ud800"),
            "The body is not Unicode: byte 82 begins half of a surrogate pair. Send both halves, or U+FFFD.",
        ),
        (GOOD.replace(b"[1, 1]", b"[2, 1]"), "inputs[0].shape is [2,1], expected [1,1] for 1 text."),
        (b"", "The body is empty. Send a JSON object with the field inputs."),
        (GOOD.replace(b"text", b'\\"\\u0001'), "inputs[0].name is '\"\x01', expected 'text'."),
    ],
)
def test_a_wrong_body_gets_400_and_a_sentence(stand: Stand, server: str, body: bytes, sentence: str) -> None:
    answer = stand.ask(Request("wrong", body), server)
    assert (answer.status, answer.content) == (400, {"error": sentence})


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_the_limit_gets_413_with_the_limit(stand: Stand, chunked: bool) -> None:
    answer = stand.ask(Request("large", b"x" * (MAX_BYTES * 2), chunked=chunked))
    assert answer.status == 413
    assert answer.content == {
        "error": "The body is larger than 65536 bytes, the limit of spec.route.maxRequestBytes. "
        "Send less in one request."
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "{infer}", 405, "This path takes no other method than POST."),
        ("PUT", "{infer}", 405, "This path takes no other method than POST."),
        ("POST", "{model}/ready", 405, "This path takes no other method than GET."),
        ("DELETE", "{model}", 405, "This path takes no other method than GET."),
        ("POST", "/v2/health/ready", 405, "This path takes no other method than GET."),
        ("POST", "{model}/versions/1/infer", 404, "Nothing is at this path. POST an inference request to {infer}."),
        ("GET", "/metrics", 404, "Nothing is at this path. POST an inference request to {infer}."),
        ("POST", "{infer}%00", 400, "The request is not valid HTTP: its path or a header cannot be read."),
    ],
)
def test_another_method_or_path_is_told_what_works(
    stand: Stand, method: str, path: str, status: int, sentence: str
) -> None:
    answer = stand.ask(Request("elsewhere", GOOD, method=method, path=path))
    told = sentence.replace("{infer}", f"/v2/models/{servers.MODEL}/infer")
    assert (answer.status, answer.content) == (status, {"error": told})


@pytest.mark.parametrize(
    ("header", "value", "status", "sentence"),
    [
        (
            "inference-header-content-length",
            "12",
            400,
            "The header Inference-Header-Content-Length is not supported by this model. "
            "Send the data as JSON in inputs.",
        ),
        (
            "content-encoding",
            "gzip",
            415,
            "The header Content-Encoding is 'gzip', expected none. Send the body as it is.",
        ),
        (
            "transfer-encoding",
            "gzip",
            400,
            "The header Transfer-Encoding is not supported. Send it as chunked, or not.",
        ),
    ],
)
def test_a_header_that_only_one_server_would_obey_is_refused(
    stand: Stand, header: str, value: str, status: int, sentence: str
) -> None:
    answer = stand.ask(Request("headers", GOOD, headers={header: value}))
    assert (answer.status, answer.content) == (status, {"error": sentence})


def test_the_query_string_does_not_reach_the_server(stand: Stand) -> None:
    stand.server.asked.clear()
    assert stand.ask(Request("query", GOOD, path="{infer}?body=x&data=y"), "torchserve").status == 200
    assert stand.server.asked == [("POST", f"/v2/models/{servers.MODEL}/infer")]


def test_a_late_answer_names_the_limit_that_ended_it(stand: Stand, tmp_path: Path) -> None:
    late = json.dumps(servers.request([LATE])).encode()
    with servers.router(tmp_path, "triton", stand.server.server_port, route=Route(timeout_seconds=0.5)) as router:
        client = run.Client(run.Target("127.0.0.1", router.port, servers.MODEL))
        answer = client.send(Request("late", late))
        client.close()
    assert answer.status == 504
    assert answer.content == {
        "error": "The model did not answer within 0.5 s, the limit of spec.route.timeoutSeconds. "
        "Try again, or raise the limit."
    }


def test_a_router_without_a_server_says_so(tmp_path: Path) -> None:
    with servers.router(tmp_path, "triton", servers.free_ports(1)[0]) as router:
        client = run.Client(run.Target("127.0.0.1", router.port, servers.MODEL))
        assert client.send(Request("wrong", b"{")).status == 400
        answer = client.send(Request("good", GOOD))
        client.close()
    assert answer.status == 503
    assert answer.content == {"error": "The connection to the model's server failed. Try again."}


@pytest.mark.parametrize("kind", ["classes", "number"])
def test_of_rows_too_only_good_requests_reach_a_server(kind: str, tmp_path: Path) -> None:
    expected = model.expected(tmp_path / "model", MAX_BATCH_SIZE, kind)
    signature = servers.MODELS[kind][1](tmp_path / "model").served_signature
    requests = [
        bodies.make(11, index, max_batch_size=MAX_BATCH_SIZE, max_bytes=MAX_BYTES, signature=signature)
        for index in range(300)
    ]
    with (
        upstream(expected) as server,
        servers.router(
            tmp_path / "router", "triton", server.server_port, max_batch_size=MAX_BATCH_SIZE, signature=signature
        ) as router,
    ):
        report = run.against({"triton": run.Target("127.0.0.1", router.port, servers.MODEL)}, requests, expected)
        counted = router.counters("upstream_rq_4xx", "upstream_rq_5xx", "lua.errors")
    assert report.wrong == [], str(report)
    assert (server.refused, set(counted.values())) == ([], {0})
    assert report.statuses[200] > 50 and report.statuses[400] > 100


def test_each_revision_of_a_route_has_the_check_of_its_own_signature(tmp_path: Path) -> None:
    """Half of the requests are not for the revision that is chosen, and none of these reaches a server."""
    text, table = (
        model.expected(tmp_path / "a", MAX_BATCH_SIZE),
        model.expected(tmp_path / "b", MAX_BATCH_SIZE, "number"),
    )
    signature = servers.MODELS["number"][1](tmp_path / "b").served_signature
    with upstream(text) as one, upstream(table) as other:
        backends = [
            servers.Behind("aaaaaaaa", one.server_port, 50, servers.tiny.SIGNATURE),
            servers.Behind("bbbbbbbb", other.server_port, 50, signature),
        ]
        with servers.router_to(tmp_path / "router", "triton", backends, max_batch_size=MAX_BATCH_SIZE) as router:
            client = run.Client(run.Target("127.0.0.1", router.port, servers.MODEL))
            requests = [
                Request(name, json.dumps(expected.good[0]).encode())
                for name, expected in (("text", text), ("table", table))
            ] * 40
            statuses = [client.send(request).status for request in requests]
            client.close()
    assert one.refused == other.refused == []
    assert set(statuses) == {200, 400} and 20 < statuses.count(200) < 60
