"""docs/spec says what the models say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SPEC = ROOT / "docs" / "spec"
PAGES = sorted(SPEC.glob("*.md"))
KINDS = ("dataset", "trainingrun", "compressionjob", "modeldeployment")
sys.path.insert(0, str(SPEC))

import fields as spec_pages  # noqa: E402


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_and_examples_are_up_to_date(page: Path) -> None:
    assert page.read_text() == spec_pages.rendered(page.read_text()), "run `python docs/spec/fields.py`"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_documented_in_the_same_four_parts(kind: str) -> None:
    headings = re.findall(r"^## (.*)$", (SPEC / f"{kind}.md").read_text(), re.MULTILINE)
    assert headings == ["Example", "Writing a spec", "Working with it", "Status"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", page.read_text()):
        assert not target or (page.parent / target).exists(), target
    for anchor in re.findall(r"\]\(shared\.md#([^)]*)\)", page.read_text()):
        headings = re.findall(r"^#+ (.*)$", (SPEC / "shared.md").read_text(), re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
