"""Makes the compression benchmark importable; it belongs to the repository, not to the distribution."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "benchmarks" / "compression"), str(ROOT / "hack")]
