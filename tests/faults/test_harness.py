"""The harness itself: it would notice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from .census import JobCensus
from .plans import FAULTS, Plan
from .state import differences, normalised
from .sweep import combined, spread

Object = dict[str, Any]


def job(uid: str, name: str = "train-1", digest: str = "aa", ended: bool = False) -> Object:
    conditions = [{"type": "Complete", "status": "True"}] if ended else []
    return {
        "metadata": {"uid": uid, "name": name, "labels": {"kaon.dev/digest": digest}},
        "status": {"conditions": conditions},
    }


def resource(uid: str, time: str = "2026-01-01T00:00:00Z", **status: Any) -> Object:
    meta = {"name": "one", "namespace": "ns", "uid": uid, "resourceVersion": "7", "generation": 1}
    return {"apiVersion": "v1", "kind": "Dataset", "metadata": meta, "status": {"since": time, **status}}


def test_a_job_that_is_created_again_is_noticed() -> None:
    census = JobCensus()
    census.take("ADDED", job("u1"))
    census.take("MODIFIED", job("u1", ended=True))
    census.take("DELETED", job("u1"))
    assert not census.repeated()
    census.take("ADDED", job("u2"))
    assert census.repeated() == ["Job train-1 was created 2 times"]
    assert not census.problems


def test_two_jobs_of_one_digest_that_live_at_the_same_time_are_noticed() -> None:
    census = JobCensus()
    census.take("ADDED", job("u1", "train-1"))
    census.take("ADDED", job("u2", "other", digest="bb"))
    assert not census.problems
    census.take("ADDED", job("u3", "train-2"))
    assert len(census.problems) == 1 and "train-2 lives beside train-1" in census.problems[0]


def test_states_are_equal_but_for_what_no_two_runs_share() -> None:
    one = normalised([resource("uid-1", owner="uid-1")], "ns")
    other = normalised([resource("uid-2", "2026-02-02T03:04:05Z", owner="uid-2")], "ns")
    assert not differences(one, other)
    worse = normalised([resource("uid-2", owner="uid-2", attempts=2)], "ns")
    assert differences(worse, one) == ["Dataset one.status.attempts: 2 should be None"]
    assert differences({}, one) == ["Dataset one is missing"]


@pytest.mark.parametrize("text", ["drop-after:12", "kill-before:3+old-list:40"])
def test_a_plan_is_written_as_it_is_read(text: str) -> None:
    assert str(Plan.parse(text)) == text


@pytest.mark.parametrize("text", ["", "drop-after", "drop-after:0", "sneeze:1", "409:x"])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no FAULT:K"):
        Plan.parse(text)


def test_points_are_spread_over_all_requests_and_none_is_left_out_in_full() -> None:
    assert spread(5, None, 0) == [1, 2, 3, 4, 5]
    for seed in range(50):
        chosen = spread(20, 4, seed)
        assert len(set(chosen)) == 4 and chosen[0] <= 5 and chosen[-1] > 15 and max(chosen) <= 20
    assert {at for seed in range(200) for at in spread(20, 4, seed)} == set(range(1, 21))


def test_the_same_seed_makes_the_same_plans() -> None:
    counts = Counter({fault.sort: 9 for fault in FAULTS.values()})
    assert combined(counts, 5, 1) == combined(counts, 5, 1) != combined(counts, 5, 2)
