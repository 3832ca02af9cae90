"""Whatever a pod may say, the status that follows from it is one that the API server takes, and loses no way out."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kaon.api.common import Outcome
from kaon.api.dataset import DatasetStatus
from kaon.api.modeldeployment import ModelDeploymentStatus
from kaon.api.report import StageError
from kaon.api.schema import KINDS, structural
from kaon.api.text import BOUNDS, bounded, told
from kaon.api.types import MESSAGE_LENGTH, REASON_LENGTH
from kaon.controllers import dataset
from kaon.controllers.base import Key

from .serving_world import KEY, Failure, ServingWorld
from .world import DATASET_SPEC, NAMESPACE, World, digest

REASONS = st.text(string.ascii_letters, min_size=1, max_size=REASON_LENGTH)
MESSAGES = st.text(st.characters(exclude_categories=("Cs",)), max_size=MESSAGE_LENGTH) | st.integers(
    0, MESSAGE_LENGTH
).map("ü".__mul__)


@settings(max_examples=60, deadline=None)
@given(REASONS, MESSAGES)
def test_any_error_that_a_report_holds_gives_a_status_that_is_taken(reason: str, message: str) -> None:
    world, key = World(dataset.CONTROLLER), Key("Dataset", NAMESPACE, "data")
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    (job,) = world.jobs()
    error = StageError(reason=reason, message=message, retriable=False, time="2026-01-01T00:00:00Z")
    world.report(job, {"error": error.wire()})
    world.end(job, "Failed", "BackoffLimitExceeded")
    world.reconcile(key)
    status = bounded(world.objects[key]["status"])
    parsed = DatasetStatus.model_validate(status)
    assert parsed.history[0].outcome == reason
    ready = next(item for item in parsed.conditions if item.type == "Ready")
    assert ready.reason == reason
    assert parsed.history[0].message == ready.message
    assert ready.message.endswith("or delete the Job data-dset-" + status["jobName"][-10:] + " while it is there.")
    world.objects[key]["status"] = status
    assert bounded(world.reconcile(key).status) == status, "a cut status is another one at the next look"


@settings(max_examples=30, deadline=None)
@given(st.text(string.ascii_letters, min_size=2, max_size=127).map("R".__add__), MESSAGES)
def test_any_last_words_of_a_server_give_a_status_that_is_taken(reason: str, message: str) -> None:
    world = ServingWorld()
    world.compressed("a")
    world.deploy()
    world.failing[digest("a")] = Failure(message=f"{reason}: {message}")
    world.settle()
    ModelDeploymentStatus.model_validate(bounded(world.objects[KEY]["status"]))


def test_a_status_that_is_not_cut_would_be_refused_for_its_history() -> None:
    words = "x" * (MESSAGE_LENGTH + 1)
    with pytest.raises(ValidationError):
        Outcome(time="2026-01-01T00:00:00Z", outcome="Failed", input_digest="", message=words)
    Outcome(time="2026-01-01T00:00:00Z", outcome="Failed", input_digest="", message=told(words))


def test_every_reason_and_every_message_of_every_status_has_the_one_bound() -> None:
    found = [
        (f"{kind.kind}.{path}", name, node["maxLength"])
        for kind in KINDS
        for path, name, node in _strings(structural(kind.status), "status")
        if name in BOUNDS
    ]
    assert {name for _, name, _ in found} == BOUNDS.keys()
    assert [item for item in found if item[2] != BOUNDS[item[1]]] == []


def _strings(node: dict[str, Any], path: str, name: str = "") -> list[tuple[str, str, dict[str, Any]]]:
    if node.get("type") == "string":
        return [(path, name, node)]
    inner = [(key, child) for key, child in node.get("properties", {}).items()]
    inner += [(name, node[key]) for key in ("items", "additionalProperties") if key in node]
    return [item for key, child in inner for item in _strings(child, f"{path}.{key}", key)]


@given(st.text(max_size=200), st.integers(8, 64))
def test_a_cut_sentence_fits_and_is_cut_once(text: str, most: int) -> None:
    cut = told(text, most)
    assert len(cut) <= most
    assert told(cut, most) == cut


def test_a_cut_sentence_keeps_its_beginning_and_its_end() -> None:
    cut = told("The cause. " + "x" * 9000 + " The way out.", 100)
    assert cut.startswith("The cause. ") and cut.endswith(" The way out.") and len(cut) == 100


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://jane:secret@host/a.csv: 403", "GET https://***@host/a.csv: 403"),
        ("https://jane@host", "https://***@host"),
        ("'s3://a:b@c@d/e' and 'gs://x:y@z'", "'s3://***@d/e' and 'gs://***@z'"),
        ("s3://bucket/a@b.csv", "s3://bucket/a@b.csv"),
        ("mail jane@host about s3://bucket", "mail jane@host about s3://bucket"),
    ],
)
def test_the_user_and_the_password_of_a_uri_are_left_out(text: str, shown: str) -> None:
    assert told(text) == shown
    status = {"conditions": [{"message": text}], "history": [{"message": text}], "artifact": {"uri": text}}
    assert bounded(status)["conditions"] == bounded(status)["history"] == [{"message": shown}]
