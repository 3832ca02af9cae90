"""`python tests/smallworld [--full] [WORLD …]`: explores the worlds and prints how large they are."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[2] / "hack"))

from tests.smallworld.main import main

if __name__ == "__main__":
    sys.exit(main())
