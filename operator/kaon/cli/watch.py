"""`kaon watch`: a pipeline as a live table on a terminal, one line a change elsewhere. Waits, and says how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kaon.cli import figures, pipeline
from kaon.cli.cluster import Cluster
from kaon.cli.errors import EXIT_NOT_YET, EXIT_READY, EXIT_STALLED
from kaon.cli.feed import Feed
from kaon.cli.pipeline import Row, State

QUIET_SECONDS = 60.0
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
        console.print(table(rows) if rows else f"No Kaon resources in namespace {namespace}.")
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
        # Unwrapped: whoever reads a log looks for whole sentences.
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
        shown = table(rows)
        elapsed = figures.duration(self._clock() - self._began)
        shown.caption = Text(f"{elapsed}  {note}", style="yellow" if note else "dim")
        shown.caption_justify = "left"
        self._live.update(shown, refresh=True)


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


def table(rows: Sequence[Row]) -> Table:
    """The pipeline as a table, one row a resource."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    shown.add_column("KIND", no_wrap=True)
    shown.add_column("NAME", no_wrap=True)
    shown.add_column("PHASE", no_wrap=True)
    shown.add_column("PROGRESS", no_wrap=True)
    shown.add_column("DETAILS", overflow="fold", ratio=1)
    for row in rows:
        shown.add_row(row.kind, row.name, Text(row.phase, style=COLOURS[row.state]), _bar(row), _details(row))
    return shown


def _bar(row: Row) -> RenderableType:
    if row.percent is None:
        return ""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=100, completed=row.percent, width=10), f"{row.percent:3.0f} %")
    return grid


def _details(row: Row) -> Text:
    eta = f"{row.eta} left" if row.eta else ""
    parts = [Text("  ".join(filter(None, (row.step, eta, row.metric))))]
    # What runs shows its progress; whatever waits, is stuck or serves says why, or where.
    if not row.step and (row.reason or row.message):
        style = COLOURS[row.state] if row.state is not State.READY else "dim"
        parts.append(Text(": ".join(filter(None, (row.reason, row.message))), style=style))
    return Text("\n").join(part for part in parts if part.plain)
