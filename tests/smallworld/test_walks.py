"""Ways through worlds too large to be explored, with the real engine in lock-step with the model."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from .walk import Walk
from .world import World
from .worlds import LARGE

ENGINE = logging.getLogger("kaon")


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """The engine tells of each mishap; what other tests hear of it stays as it was."""
    before = ENGINE.level
    ENGINE.setLevel(logging.CRITICAL)
    yield
    ENGINE.setLevel(before)


@pytest.mark.parametrize("world", LARGE, ids=lambda world: world.name)
# A way is told in full; a shorter one is not worth the minutes that shrinking takes.
@settings(
    max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate)
)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 100))
def test_every_way_ends_as_declared_and_the_engine_does_what_the_model_says(
    world: World, seed: int, steps: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        walk = Walk(world, patch)
        try:
            walk.go(random.Random(seed).choice, steps)
            walk.rest()
        except AssertionError:
            note("\n".join(walk.way))
            raise
