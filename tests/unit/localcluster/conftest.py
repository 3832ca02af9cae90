"""Makes hack/localcluster importable: it is a program of the repository and not part of the distribution."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "hack" / "localcluster"))
