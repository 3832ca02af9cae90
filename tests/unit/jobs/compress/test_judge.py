"""What is made of answers that are no answers."""

from __future__ import annotations

import numpy as np
import pytest

from kaon_jobs.compress.trials.judge import unanswered


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_row_with_one_probability_that_is_no_number_is_unanswered(value: float) -> None:
    probabilities = np.full((5, 3), 1 / 3, dtype=np.float32)
    assert unanswered(probabilities) == 0
    probabilities[2, 1] = value
    probabilities[4] = value
    # Its largest element would name a class all the same.
    assert probabilities[2].argmax() in (0, 1, 2) and unanswered(probabilities) == 2
