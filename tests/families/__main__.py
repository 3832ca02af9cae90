"""`python tests/families [--full] [--folders N] [FAMILY …]`: tries what works on each family of base models."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[2] / "hack"))

from tests.families.main import main

if __name__ == "__main__":
    sys.exit(main())
