"""`kaon watch`: a pipeline as a live table on a terminal, one line a change elsewhere. Waits, and says how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kaon.cli import figures, pipeline
from kaon.cli.cluster import Cluster
from kaon.cli.errors import EXIT_NOT_YET, EXIT_READY, EXIT_STALLED
from kaon.cli.feed import Feed
from kaon.cli.pipeline import Row, State

QUIET_SECONDS = 60.0
BAR_WIDTH = 10
COLOURS = {State.READY: "green", State.WORKING: "cyan", State.SUSPENDED: "yellow", State.STALLED: "red"}


class Display(Protocol):
    """Something that shows rows as they change."""

    def show(self, rows: Sequence[Row], note: str) -> None: ...


def watch(
    cluster: Cluster,
    namespace: str,
    console: Console,
    *,
    once: bool = False,
    until_ready: bool = False,
    timeout: float | None = None,
    expected: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Shows the pipeline of a namespace until it is done, and returns the exit code.

    Without `until_ready` it goes on until it is interrupted or `timeout` seconds are over. `expected` is how many
    resources must be there before all of them being ready means something.
    """
    began = clock()
    feed = Feed(cluster, namespace)
    rows = pipeline.rows(feed.board.objects.values())
    if once:
        print_once(console, rows, namespace)
        code = exit_code(rows, expected)
        # The table has just said what is awaited; only what is stuck needs more words.
        if code == EXIT_STALLED:
            tell_the_end(console, code, rows, namespace, clock() - began)
        return EXIT_NOT_YET if code is None else code
    feed.start()
    code = None
    with display(console, began, clock) as shown:
        while True:
            shown.show(rows, feed.board.note)
            code = exit_code(rows, expected) if until_ready else None
            remaining = float("inf") if timeout is None else began + timeout - clock()
            if code is not None or remaining <= 0:
                break
            # A second at most, so that the clock in the table moves; nothing is asked of the server meanwhile.
            feed.update(min(1.0, remaining))
            rows = pipeline.rows(feed.board.objects.values())
    tell_the_end(console, code, rows, namespace, clock() - began)
    return EXIT_NOT_YET if code is None else code


def print_once(console: Console, rows: Sequence[Row], namespace: str) -> None:
    """The pipeline as it is now: fitted to a terminal, and in lines of any length elsewhere."""
    if not rows:
        console.print(f"No Kaon resources in namespace {namespace}.", soft_wrap=True)
    elif console.is_terminal:
        console.print(fitted(rows, console.width))
    else:
        for text in plain(rows):
            console.print(text, soft_wrap=True, markup=False, highlight=False, style=None)


def exit_code(rows: Sequence[Row], expected: int = 1) -> int | None:
    """0 all ready, 1 something is stuck, None not decided yet."""
    if any(row.state is State.STALLED for row in rows):
        return EXIT_STALLED
    if len(rows) >= max(expected, 1) and all(row.state is State.READY for row in rows):
        return EXIT_READY
    return None


def tell_the_end(console: Console, code: int | None, rows: Sequence[Row], namespace: str, seconds: float) -> None:
    """What is stuck and what to do, or what is still awaited."""

    def tell(text: str, style: str) -> None:
        # Unwrapped: a person who searches a log looks for whole sentences.
        console.print(Text(text, style=style), soft_wrap=True)

    if code == EXIT_READY:
        tell(f"All {len(rows)} ready after {figures.duration(seconds)}.", "green")
        return
    for row in rows:
        if row.state is State.STALLED:
            tell(f"{row.title} is stuck: {row.reason}: {row.message}", "red")
            for command in pipeline.way_out(row, namespace):
                tell(f"  {command}", "default")
        elif row.state is not State.READY and code is None:
            said = ": ".join(filter(None, (row.reason, row.message)))
            tell(f"{row.title} is not ready: {said or row.phase}", "yellow")


def display(console: Console, began: float, clock: Callable[[], float]) -> LiveTable | Lines:
    """A live table where the output is a terminal, lines everywhere else."""
    return LiveTable(console, began, clock) if console.is_terminal else Lines(console, began, clock)


class LiveTable:
    """One table, redrawn in place."""

    def __init__(self, console: Console, began: float, clock: Callable[[], float]) -> None:
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="visible")
        self._began = began
        self._clock = clock

    def __enter__(self) -> LiveTable:
        self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, rows: Sequence[Row], note: str) -> None:
        elapsed = figures.duration(self._clock() - self._began)
        caption = Text(f"{elapsed}  {note}", style="yellow" if note else "dim")
        self._live.update(Group(fitted(rows, self._live.console.width), caption), refresh=True)


class Lines:
    """One line for each change that matters; progress is told every tenth of the way, and once a minute."""

    def __init__(self, console: Console, began: float, clock: Callable[[], float]) -> None:
        self._console = console
        self._began = began
        self._clock = clock
        self._told: dict[str, tuple[object, ...]] = {}
        self._progress: dict[str, tuple[tuple[str, float | None], float]] = {}
        """The step and percent that were told last, and when."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def show(self, rows: Sequence[Row], note: str) -> None:
        for row in rows:
            tenth = None if row.percent is None else int(row.percent // 10)
            running = row.step.split(" ")[0]
            said = (row.phase, row.state, row.reason, row.message if not row.step else "", running, tenth)
            if self._told.get(row.title) != said or self._is_quiet(row):
                self._told[row.title] = said
                self._progress[row.title] = ((row.step, row.percent), self._clock())
                self._print(line(row))
        for title in [title for title in self._told if title not in {row.title for row in rows} and title]:
            del self._told[title]
            self._print(f"{title}  deleted")
        if note and self._told.get("") != (note,):
            self._print(note)
        self._told[""] = (note,)

    def _is_quiet(self, row: Row) -> bool:
        """Whether it has moved on, and nothing was said of it for long."""
        told, when = self._progress[row.title]
        return row.state is State.WORKING and told != (row.step, row.percent) and self._clock() - when >= QUIET_SECONDS

    def _print(self, text: str) -> None:
        elapsed = round(self._clock() - self._began)
        stamped = f"{elapsed // 60:02}:{elapsed % 60:02}  {text}"
        self._console.print(stamped, soft_wrap=True, markup=False, highlight=False)


def line(row: Row) -> str:
    """A row without a terminal: the parts that say something, two spaces between them."""
    percent = "" if row.percent is None or row.state is State.READY else f"{row.percent:.0f} %"
    eta = f"{row.eta} left" if row.eta else ""
    said = ": ".join(filter(None, (row.reason, row.message))) if not row.step else ""
    return "  ".join(filter(None, (row.title, row.phase, percent, row.step, eta, row.metric, said)))


HEADINGS = ("KIND", "NAME", "PHASE", "PROGRESS", "DETAILS")
SPACE_BETWEEN = 2
NARROWEST_DETAILS = 32
"""Characters of the last column below which sentences fall apart."""


def plain(rows: Sequence[Row]) -> list[str]:
    """The pipeline as lines for a pipe or a file: aligned columns, each resource on one line of any length."""
    cells = [HEADINGS, *((row.kind, row.name, row.phase, _percent(row), "  ".join(_said(row))) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS) - 1)]
    space = " " * SPACE_BETWEEN
    return [
        space.join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in cells
    ]


def fitted(rows: Sequence[Row], width: int) -> RenderableType:
    """A table, or where the terminal is too narrow for one the details below each resource."""
    fixed = sum(
        max(len(heading), *lengths) + SPACE_BETWEEN
        for heading, lengths in (
            ("KIND", [len(row.kind) for row in rows] or [0]),
            ("NAME", [len(row.name) for row in rows] or [0]),
            ("PHASE", [len(row.phase) for row in rows] or [0]),
            ("PROGRESS", [BAR_WIDTH + len(" 100 %")]),
        )
    )
    return table(rows) if width - fixed >= NARROWEST_DETAILS else stacked(rows)


def stacked(rows: Sequence[Row]) -> RenderableType:
    """A line for each resource, and its details below, indented."""
    lines: list[RenderableType] = []
    for row in rows:
        head = Text.assemble((row.title, "bold"), "  ", (row.phase, COLOURS[row.state]))
        lines.append(head.append(f"  {_percent(row)}") if row.percent is not None else head)
        details = _details(row)
        if details.plain:
            lines.append(Padding(details, (0, 0, 0, 2)))
    return Group(*lines)


def table(rows: Sequence[Row]) -> Table:
    """The pipeline as a table, one row a resource."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, SPACE_BETWEEN, 0, 0))
    for heading in HEADINGS[:-1]:
        shown.add_column(heading, no_wrap=True)
    shown.add_column(HEADINGS[-1], overflow="fold", ratio=1)
    for row in rows:
        shown.add_row(row.kind, row.name, Text(row.phase, style=COLOURS[row.state]), _bar(row), _details(row))
    return shown


def _percent(row: Row) -> str:
    return "" if row.percent is None else f"{row.percent:.0f} %"


def _bar(row: Row) -> RenderableType:
    if row.percent is None:
        return ""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=100, completed=row.percent, width=BAR_WIDTH), f"{row.percent:3.0f} %")
    return grid


def _said(row: Row) -> list[str]:
    """How it is going; and of what does not run: why it waits or is stuck, or where it serves."""
    eta = f"{row.eta} left" if row.eta else ""
    figures_told = "  ".join(filter(None, (row.step, eta, row.metric)))
    why = "" if row.step else ": ".join(filter(None, (row.reason, row.message)))
    return [part for part in (figures_told, why) if part]


def _details(row: Row) -> Text:
    said = _said(row)
    parts = [Text(part) for part in said]
    if said and not row.step and (row.reason or row.message):
        parts[-1].stylize(COLOURS[row.state] if row.state is not State.READY else "dim")
    return Text("\n").join(parts)
