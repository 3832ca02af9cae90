"""What the two NNCF contenders share: calibration rows and the question whether a text is in it."""

from __future__ import annotations

import nncf
from contract import Case
from peers.sessions import calibration


def calibration_dataset(case: Case) -> nncf.Dataset:
    """Training rows."""
    return nncf.Dataset(calibration(case))


def model_type(case: Case) -> nncf.ModelType | None:
    """Transformers have patterns of their own."""
    return nncf.ModelType.TRANSFORMER if case.kind == "text" else None
