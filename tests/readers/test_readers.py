"""A sample of the damaged files; `python tests/readers` reads thousands."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest
from readers.inputs import make
from readers.judge import READ, REFUSED, WRONG, judge

SEED = 20
BATCH = 60


@pytest.mark.parametrize("first", range(0, 300, BATCH))
def test_a_damaged_file_is_read_right_or_refused_with_file_and_place(tmp_path: Path, first: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    judged = [(index, *judge(make(SEED, index), tmp_path / "one")) for index in range(first, first + BATCH)]
    assert [one for one in judged if one[1] == WRONG] == []
    assert {REFUSED, READ} <= {outcome for _, outcome, _ in judged}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024


def test_the_judge_sees_a_lost_row_and_a_wrong_one(tmp_path: Path) -> None:
    every = (make(SEED, index) for index in range(1000))
    whole = next(one for one in every if (one.name, one.damage, one.codec) == ("x.jsonl", "none", "utf-8"))
    line_end = whole.data.index(b"\n")
    lost = replace(whole, data=whole.data[line_end + 1 :], damage="flip", untouched=whole.rows)
    assert judge(lost, tmp_path / "one")[0] == WRONG
    other = replace(whole, rows=(("another text", "neg"), *whole.rows[1:]), damage="none")
    assert judge(other, tmp_path / "one")[0] == WRONG
