"""docs/families.md is what the last full run recorded, and a sample of its cells is still so."""

from __future__ import annotations

from pathlib import Path

import pytest

from .builders import FAMILIES
from .matrix import CELLS, MODEL_CELLS, PAGE, WORKS, attempts, recorded, rendered

SAMPLE = {
    "roberta": ("train", "parity at five lengths", "serve"),
    "mpnet": ("gradient checkpointing",),
}


def test_the_page_is_what_is_recorded() -> None:
    assert PAGE.read_text(encoding="utf-8") == rendered(), "write it again: python tests/families --full --missing"


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_cell_is_recorded_and_works_or_has_a_sentence(family: str) -> None:
    found = recorded(family)
    assert tuple(found) == CELLS
    assert all(outcome == WORKS or len(outcome.split()) > 5 for outcome in found.values())


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_is_trained_and_served(family: str) -> None:
    found = recorded(family)
    refusable = {"gradient checkpointing"}
    assert [cell for cell in MODEL_CELLS if found[cell] != WORKS and cell not in refusable] == []


@pytest.mark.parametrize("family", list(SAMPLE))
def test_a_sample_of_the_table_is_as_recorded(family: str, tmp_path: Path) -> None:
    found = {cell: attempt() for cell, attempt in attempts(family, SAMPLE[family], tmp_path)}
    assert found == {cell: recorded(family)[cell] for cell in SAMPLE[family]}
