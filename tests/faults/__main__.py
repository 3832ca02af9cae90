"""Lets `python tests/faults …` work from the repository root; the program itself is cli.py."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "hack"), str(ROOT / "hack" / "localcluster")]

from faults.cli import main  # noqa: E402

sys.exit(main())
