"""Puts the repository's root on the path: the specs and results of tests/unit/controllers are used here too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
