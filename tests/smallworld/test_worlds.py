"""Every small world is exhausted: nothing that must not be is reachable, and from every state it comes to rest."""

from __future__ import annotations

import pytest

from .explore import HEADER, Explorer
from .world import World
from .worlds import WORLDS


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_every_reachable_state_is_sound_and_leads_to_what_is_declared(world: World) -> None:
    explored = Explorer(world).explore()
    print(f"\n{HEADER}\n{explored}")
    assert explored.exhausted
    assert explored.rests > 1, "a world that can only end in one way says little"
