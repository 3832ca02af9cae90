"""The names of classes in the counter of answers."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaon.contract.answers import EMPTY, MOST_CLASSES, OTHER, series_label, series_labels

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("rotten", "rotten"),
        ('a "quoted" back\\slash', 'a "quoted" back\\slash'),
        ("汉字 \U0001f600", "汉字 \U0001f600"),
        ("a, b: c|d", "a%2C b%3A c%7Cd"),
        ("100 %", "100 %25"),
        ("two\nlines\r\u2028", "two%0Alines%0D%E2%80%A8"),
        ("", EMPTY),
    ],
)
def test_a_name_is_written_as_both_servers_take_it(name: str, label: str) -> None:
    assert series_label(name) == label


@given(names)
def test_a_label_ends_no_line_of_torchserve_and_names_one_class_alone(name: str) -> None:
    label = series_label(name)
    assert label and not re.search("[,:|\x00-\x1f\x7f-\x9f\u2028\u2029]", label)
    assert label not in (OTHER, EMPTY) or not name
    assert unquote(label) == name or not name


def test_classes_beyond_the_counted_ones_share_a_label() -> None:
    classes = [f"c{number}" for number in range(MOST_CLASSES + 2)]
    assert series_labels(classes, []) == [*classes[:MOST_CLASSES], OTHER, OTHER]
    assert series_labels(classes[:3], ["c2", "c0"]) == ["c0", OTHER, "c2"]
    assert series_labels(["other", OTHER], ["other"]) == ["other", OTHER]
    assert series_labels([], []) == []
