"""How servers count what they answer, so that alerts can be made of it: one counter, a series for each class. Pure.

Both servers take every string for the value of a label, except that TorchServe reads its metrics from lines in which
`,`, `:` and `|` have a meaning. Measured with Triton 2.51 and TorchServe 0.12: quotation marks, backslashes and letters
of any script arrive as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final
from urllib.parse import quote

COUNTER: Final = "kaon_predictions_total"
"""Examples answered, by the labels `model`, the ModelDeployment's name, and `label`."""
MOST_CLASSES: Final = 200
"""Classes with a series of their own. A series costs a scrape, and some kilobytes in Prometheus, for each replica."""
OTHER: Final = "%other"
"""Stands for the classes beyond these. No class is written so: a `%` in a name is escaped."""
EMPTY: Final = "%empty"
"""Stands for the class whose name is empty: to Prometheus an empty label is none."""

_ESCAPED = re.compile("[%,:|\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What ends a value or a line in TorchServe, `%` itself, and what no dashboard shows."""


def series_label(name: str) -> str:
    """The value of `label` of a class: its name, with some characters as in a URI ("a:b" is "a%3Ab")."""
    return _ESCAPED.sub(lambda found: quote(found[0], safe=""), name) or EMPTY


def series_labels(classes: Sequence[str], counted: Collection[str]) -> list[str]:
    """The value of `label` of each class of a model, in order.

    Args:
        counted: the classes with a series of their own, which are those that the evaluation lists; empty for the first
            200 of `classes`.
    """
    known = set(list(counted or classes)[:MOST_CLASSES])
    return [series_label(name) if name in known else OTHER for name in classes]
