"""Makes cli_objects importable: the test folders are no packages, so a helper beside the tests needs its path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
