"""Figures as people read them. Pure."""

from __future__ import annotations

from kaon.tasks.base import Metric


def size(count: int) -> str:
    """Bytes in decimal units, as in the tables of papers: 22.9 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float) -> str:
    """45 s, 3 min 10 s, 1 h 20 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def points(difference: float) -> str:
    """A difference of two ratios in percentage points, with its sign."""
    # Adding zero makes the negative zero of rounding a positive one.
    return f"{round(difference * 100, 2) + 0.0:+.2f} pt"


def metric(known: Metric | None, value: float | None) -> str:
    """A figure of quality: four decimals between 0 and 1, else four digits; a dash when it was not measured."""
    if value is None:
        return "–"
    return f"{value:.4f}" if known is None else known.written(value)


def change(known: Metric, lost: float) -> str:
    """What was lost of a metric, as the change of the figure: +3.2 where RMSE, of which lower is better, rose by it."""
    moved = -lost if known.better == "higher" else lost
    return points(moved) if known.is_share else f"{'+' if moved >= 0 else ''}{known.written(moved)}"


def milliseconds(value: float | None) -> str:
    """A latency; a dash when it was not measured."""
    return "–" if value is None else f"{value:.2f} ms"


def count(number: int, one: str, many: str = "") -> str:
    """1 row, 5,485 rows."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
