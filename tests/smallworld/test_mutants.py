"""The exploration finds defects: each of these is put in, and must be caught in a small world."""

from __future__ import annotations

import pytest

from .explore import Explorer, Found
from .mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_defect_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.make(monkeypatch)
    with pytest.raises(Found, match=mutant.found):
        Explorer(mutant.world).explore()
