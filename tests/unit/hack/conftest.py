"""Makes the programs of hack/ importable; they belong to the repository, not to the distribution."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "hack"), str(ROOT / "hack" / "localcluster")]
