"""The command: tries cells of the table, prints a line for each, and records what a full run finds."""

from __future__ import annotations

import argparse
import tempfile
import time
import traceback
from pathlib import Path

from transformers.utils import logging

from . import fuzz
from .builders import FAMILIES
from .matrix import CELLS, MODEL_CELLS, PAGE, attempts, record, recorded, rendered

SAMPLE = ("roberta", "gpt2")


def main() -> int:
    """Try them. 1 when something was neither right nor refused, or is not as recorded."""
    parser = argparse.ArgumentParser(prog="python tests/families", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"default: {', '.join(SAMPLE)}; all with --full")
    parser.add_argument("--full", action="store_true", help="every cell; records them and writes docs/families.md")
    parser.add_argument("--cell", action="append", choices=CELLS, help="this cell alone; may be given again")
    parser.add_argument("--missing", action="store_true", help="with --full: only cells that are not recorded yet")
    parser.add_argument("--folders", type=int, metavar="N", help="damaged folders instead of the table, N of them")
    parser.add_argument("--seed", type=int, default=0, help="of the first damaged folder")
    options = parser.parse_args()
    # A fresh head is announced as missing weights, and bars do not belong in a log.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if options.folders is not None:
        return fuzz.main(options.folders, options.seed)
    unknown = set(options.families) - set(FAMILIES)
    if unknown:
        parser.error(f"no such family: {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    families = options.families or (list(FAMILIES) if options.full else list(SAMPLE))
    fine = True
    for family in families:
        cells = list(options.cell or (CELLS if options.full else MODEL_CELLS))
        if options.missing:
            cells = [cell for cell in cells if cell not in recorded(family)]
        fine &= _try(family, cells, options.full)
    if options.full:
        PAGE.write_text(rendered(), encoding="utf-8")
    return 0 if fine else 1


def _try(family: str, cells: list[str], keep: bool) -> bool:
    fine = True
    with tempfile.TemporaryDirectory(prefix="family-") as root:
        for cell, attempt in attempts(family, cells, Path(root)):
            start = time.monotonic()
            try:
                outcome = attempt()
            except Exception:
                outcome, fine = f"a defect: {traceback.format_exc()}", False
            print(f"{family:12} {cell:30} {time.monotonic() - start:6.1f} s  {outcome}", flush=True)
            if keep and not outcome.startswith("a defect"):
                record(family, cell, outcome)
            elif not keep and recorded(family).get(cell) != outcome:
                print(f"{family}: {cell} is recorded as {recorded(family).get(cell)!r}", flush=True)
                fine = False
    return fine
