"""Names of the fields of a budget of quality, as they stand in messages and reports. Pure."""

from __future__ import annotations

RECALL = "maxClassRecallDrop"
_DROP = "maxDrop."


def drop_field(metric: str) -> str:
    """The field that bounds the loss of a metric."""
    return f"{_DROP}{metric}"


def metric_of(field: str) -> str | None:
    """The metric whose loss a field bounds; None for another field."""
    return field.removeprefix(_DROP) if field.startswith(_DROP) else None


def of_quality(field: str) -> bool:
    """Whether a field bounds what quality may be lost."""
    return field == RECALL or field.startswith(_DROP)
