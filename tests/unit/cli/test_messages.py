"""What the command line tells of an answer that is no success."""

from __future__ import annotations

import pytest

from kaon.cli.cluster import Answer, message_of


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"kind": "Status", "message": "services is forbidden"}', "services is forbidden"),
        (
            b'{"error": "inputs[0].data[0] is null, expected a string."}',
            "inputs[0].data[0] is null, expected a string.",
        ),
        (b"upstream connect error", "upstream connect error"),
        (b'{"other": 1}', "{'other': 1}"),
    ],
)
def test_the_sentence_of_the_api_server_or_of_the_router_is_told_as_it_is(body: bytes, told: str) -> None:
    assert message_of(Answer(400, {}, body)) == told
