"""Self-contained HTML for report.html files: a page, tables, and charts as inline SVG. Pure: values in, text out.

No scripts, no links, no fonts from elsewhere: a report opens from a bucket, offline, in ten years.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b6ea8; --two: #c8792b; --soft: #8882 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; margin: .5rem 0 }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line) }
th { text-align: left } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
svg { max-width: 100%; height: auto } svg text { font: 11px system-ui, sans-serif; fill: currentColor }
figure { display: inline-block; margin: .2rem; text-align: center; font-size: .75rem; max-width: 9rem }
figure img { min-width: 48px; image-rendering: pixelated } figure span { display: block; overflow-wrap: anywhere }
.note { opacity: .75 } code { font-size: .9em; overflow-wrap: anywhere }
"""


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole document. Each section is (heading, HTML); headings are escaped, contents are not."""
    body = "".join(f"<h2>{escape(heading)}</h2>\n{content}\n" for heading, content in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{body}</body></html>\n"
    )


def paragraph(text: str, *, note: bool = False) -> str:
    """Escaped text."""
    return f"<p{' class=note' if note else ''}>{escape(text)}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; numbers stand at the right, floats with four digits."""

    def cell(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"<td>{escape(str(value))}</td>"
        return f"<td class=n>{value:.4f}</td>" if isinstance(value, float) else f"<td class=n>{value:,}</td>"

    numeric = [bool(rows) and isinstance(value, int | float) for value in (rows[0] if rows else header)]
    head = "".join(
        f"<th{' class=n' if right else ''}>{escape(name)}</th>" for name, right in zip(header, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(cell(value) for value in row)}</tr>\n" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def pictures(shown: Sequence[tuple[str, str]]) -> str:
    """Pictures beside each other, each a data URI and what stands below it."""
    return "".join(
        f'<figure><img src="{escape(uri)}" alt=""><span>{escape(caption)}</span></figure>' for uri, caption in shown
    )


def bars(values: Sequence[tuple[str, float]], unit: str = "") -> str:
    """Horizontal bars, one a line, with the value behind each."""
    top = max((value for _, value in values), default=0) or 1
    height, parts = 20 * len(values) + 4, []
    for index, (label, value) in enumerate(values):
        y, width = 20 * index + 2, 420 * value / top
        parts.append(
            f'<text x="150" y="{y + 12}" text-anchor="end">{escape(label[:24])}</text>'
            f'<rect x="156" y="{y}" width="{width:.1f}" height="15" fill="var(--bar)"/>'
            f'<text x="{160 + width:.1f}" y="{y + 12}">{value:,g}{escape(unit)}</text>'
        )
    return _svg(660, height, parts)


def histogram(edges: Sequence[float], counts: Sequence[int], unit: str) -> str:
    """Counts between edges (one more edge than counts)."""
    top, width = max(counts, default=0) or 1, 600 / max(len(counts), 1)
    parts = [
        f'<rect x="{30 + index * width:.1f}" y="{130 - 120 * count / top:.1f}" width="{max(width - 1, 0.5):.1f}" '
        f'height="{120 * count / top:.1f}" fill="var(--bar)"><title>{count}</title></rect>'
        for index, count in enumerate(counts)
    ]
    for index in range(0, len(edges), max(1, len(edges) // 8)):
        parts.append(f'<text x="{30 + index * width:.1f}" y="145" text-anchor="middle">{edges[index]:g}</text>')
    parts.append(f'<text x="640" y="160" text-anchor="end">{escape(unit)}; highest bar: {top:,}</text>')
    return _svg(660, 165, parts)


def density(across: Sequence[float], up: Sequence[float], x_unit: str, y_unit: str, cells: int = 40) -> str:
    """Pairs of numbers as a grid of cells, darker where more lie, with the line on which both are the same."""
    low, top = min((*across, *up), default=0.0), max((*across, *up), default=0.0)
    span, size = (top - low) or 1.0, 360 / cells
    counts = Counter(
        (min(cells - 1, int(cells * (x - low) / span)), min(cells - 1, int(cells * (y - low) / span)))
        for x, y in zip(across, up, strict=True)
    )
    most = max(counts.values(), default=1)
    parts = [
        f'<rect x="{70 + column * size:.1f}" y="{370 - (row + 1) * size:.1f}" width="{size:.1f}" height="{size:.1f}" '
        f'fill="var(--bar)" fill-opacity="{0.15 + 0.85 * math.sqrt(count / most):.2f}"><title>{count:,}</title></rect>'
        for (column, row), count in sorted(counts.items())
    ]
    parts += [
        '<rect x="70" y="10" width="360" height="360" fill="none" stroke="var(--line)"/>',
        '<line x1="70" y1="370" x2="430" y2="10" stroke="var(--two)"/>',
        f'<text x="65" y="370" text-anchor="end">{low:.4g}</text>',
        f'<text x="65" y="20" text-anchor="end">{top:.4g}</text>',
        f'<text x="70" y="386">{low:.4g}</text><text x="430" y="386" text-anchor="end">{top:.4g}</text>',
        f'<text x="250" y="386" text-anchor="middle">{escape(x_unit)}</text>',
        f'<text x="65" y="194" text-anchor="end">{escape(y_unit)}</text>',
    ]
    return _svg(660, 392, parts)


def lines(series: Sequence[tuple[str, Sequence[tuple[float, float]]]], x_unit: str) -> str:
    """Line chart of up to two named series of (x, y), on one scale."""
    points = [point for _, values in series for point in values]
    if not points:
        return paragraph("nothing recorded", note=True)
    x_top = max(x for x, _ in points) or 1
    y_low, y_top = min(0.0, *(y for _, y in points)), max(y for _, y in points) or 1
    parts = [
        '<line x1="50" y1="190" x2="640" y2="190" stroke="var(--line)"/>',
        f'<text x="45" y="194" text-anchor="end">{y_low:.3g}</text>',
        f'<text x="45" y="20" text-anchor="end">{y_top:.3g}</text>',
        f'<text x="640" y="206" text-anchor="end">{x_top:g} {escape(x_unit)}</text>',
    ]
    for index, (name, values) in enumerate(series):
        colour = ("var(--bar)", "var(--two)")[index % 2]
        path = " ".join(
            f"{50 + 590 * x / x_top:.1f},{190 - 174 * (y - y_low) / ((y_top - y_low) or 1):.1f}" for x, y in values
        )
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{420 + 110 * index}" y="14" style="fill:{colour}">{escape(name)}</text>')
    return _svg(660, 212, parts)


def matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix as a table: rows true, columns predicted, darker where more of the row lies."""
    head = "".join(f"<th class=n>{escape(label[:16])}</th>" for label in labels)
    body = ""
    for label, row in zip(labels, counts, strict=True):
        total = sum(row) or 1
        cells = "".join(
            f'<td class=n style="background:rgba(59,110,168,{0.6 * count / total:.2f})">{count or ""}</td>'
            for count in row
        )
        body += f"<tr><th>{escape(label[:32])}</th>{cells}</tr>\n"
    return f"<table><tr><th>true \\ predicted</th>{head}</tr>\n{body}</table>"


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img">{"".join(parts)}</svg>'
