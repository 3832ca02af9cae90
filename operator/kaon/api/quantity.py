"""Kubernetes quantities as numbers, to compare them. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

_PARTS = re.compile(r"([0-9.]+)([a-zA-Z]*)")
_SUFFIXES = {
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("", "k", "M", "G", "T", "P"))},
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("", "Ki", "Mi", "Gi", "Ti", "Pi")) if suffix},
}


def amount(quantity: str | int) -> Decimal:
    """The number that a valid quantity stands for: 1.5Gi is 1610612736."""
    found = _PARTS.fullmatch(str(quantity))
    if found is None:
        raise ValueError(f"{quantity!r} is no quantity")
    return Decimal(found[1]) * _SUFFIXES[found[2]]
