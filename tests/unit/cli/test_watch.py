"""`kaon watch`: when it ends and with what code, what its lines say, and what it knows after a lost connection."""

from __future__ import annotations

import io

import pytest
from cli_objects import conditions, dataset, deployment, job, run
from rich.console import Console
from rich.text import Text

from kaon.api.common import Progress
from kaon.cli import pipeline, watch
from kaon.cli.errors import EXIT_READY, EXIT_STALLED
from kaon.cli.feed import Board

READY_RUN = {"phase": "Succeeded", "conditions": conditions("True")}
STALLED = conditions("False", "SourceEmpty", "s3://raw/train.csv has no rows: upload it", stalled=True)


def console() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=160, force_terminal=False), out


def lines_of(*steps: list) -> list[str]:
    """What the line display prints for a sequence of states."""
    shown_on, out = console()
    with watch.Lines(shown_on, 0.0, lambda: 65.0) as shown:
        for step in steps:
            shown.show(pipeline.rows(step), "")
    return out.getvalue().splitlines()


def test_the_end_is_0_only_when_all_are_ready() -> None:
    assert watch.exit_code(pipeline.rows([dataset(), run(**READY_RUN)])) == EXIT_READY
    assert watch.exit_code(pipeline.rows([dataset(), run()])) is None


def test_the_end_is_1_as_soon_as_one_is_stuck() -> None:
    assert watch.exit_code(pipeline.rows([dataset(conditions=STALLED), run()])) == EXIT_STALLED


def test_an_empty_namespace_is_not_ready() -> None:
    assert watch.exit_code([]) is None


def test_fewer_resources_than_expected_are_not_ready() -> None:
    assert watch.exit_code(pipeline.rows([dataset()]), expected=2) is None


def test_a_change_is_one_line_and_no_change_is_none() -> None:
    told = lines_of([dataset(), run()], [dataset(), run()])
    assert told == [
        "01:05  Dataset r8  Succeeded  4,936/549/2,189 rows, 3 classes",
        "01:05  TrainingRun r8  Running  42 %  training 195/465  3 min 10 s left  loss 0.3123",
    ]


def test_progress_is_told_every_tenth_of_the_way() -> None:
    def at(percent: float) -> list:
        return [run(progress=Progress(percent=percent, phase="training", step=int(percent), total_steps=100))]

    assert len(lines_of(at(41), at(44), at(49), at(50), at(58))) == 2


def test_a_deleted_resource_is_told_once() -> None:
    assert lines_of([dataset()], [], [])[1:] == ["01:05  Dataset r8  deleted"]


def test_a_lost_connection_is_told_once() -> None:
    shown_on, out = console()
    with watch.Lines(shown_on, 0.0, lambda: 0.0) as shown:
        for note in ("", "no answer", "no answer", ""):
            shown.show([], note)
    assert out.getvalue().splitlines() == ["00:00  no answer"]


def test_what_moves_on_slowly_is_told_once_a_minute() -> None:
    shown_on, out = console()
    now = [0.0]
    with watch.Lines(shown_on, 0.0, lambda: now[0]) as shown:
        for seconds, percent in ((0, 14.6), (30, 15.0), (61, 15.0), (62, 15.6), (100, 16.2), (130, 16.2), (200, 16.2)):
            now[0] = float(seconds)
            progress = Progress(percent=percent, phase="distilling", step=2, total_steps=14)
            shown.show(pipeline.rows([run(progress=progress)]), "")
    assert [told[:5] for told in out.getvalue().splitlines()] == ["00:00", "01:01", "02:10"]


def test_the_end_names_what_is_stuck_and_what_to_do() -> None:
    shown_on, out = console()
    watch.tell_the_end(shown_on, EXIT_STALLED, pipeline.rows([dataset(conditions=STALLED), run()]), "demo", 5)
    told = out.getvalue()
    assert "Dataset r8 is stuck: SourceEmpty: s3://raw/train.csv has no rows: upload it" in told
    assert "kubectl -n demo describe dset r8" in told
    assert "TrainingRun" not in told


def test_the_end_after_a_timeout_names_what_is_awaited() -> None:
    shown_on, out = console()
    watch.tell_the_end(shown_on, None, pipeline.rows([dataset(), run()]), "demo", 5)
    assert out.getvalue().strip() == "TrainingRun r8 is not ready: Running: epoch 2 of 3"


def test_the_table_shows_all_four_kinds_with_progress_and_reasons() -> None:
    shown_on, out = console()
    stuck = deployment(conditions=conditions("False", "GateFailed", "accuracy 0.91 is below 0.95", stalled=True))
    shown_on.print(watch.table(pipeline.rows([stuck, job(), run(), dataset()])))
    told = out.getvalue()
    assert [line.split()[0] for line in told.splitlines()[1:5]] == [
        "Dataset", "TrainingRun", "CompressionJob", "ModelDeployment",
    ]  # fmt: skip
    assert "42 %" in told and "training 195/465" in told and "GateFailed: accuracy 0.91 is below 0.95" in told


LONG = "s3://raw/train.csv has 25 rows and 40 were counted: " + "a sentence of some length, " * 6 + "and its end"


def terminal(width: int) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width, force_terminal=True, color_system="standard"), out


@pytest.mark.parametrize("width", [22, 80, 300])
def test_once_into_a_pipe_gives_each_resource_one_whole_line_whatever_the_width(width: int) -> None:
    out = io.StringIO()
    stuck = dataset(conditions=conditions("False", "SourceEmpty", LONG, stalled=True))
    watch.print_once(Console(file=out, width=width, force_terminal=False), pipeline.rows([stuck, run(), job()]), "demo")
    told = out.getvalue().splitlines()
    assert told[0].split() == ["KIND", "NAME", "PHASE", "PROGRESS", "DETAILS"]
    assert [line.split()[0] for line in told[1:]] == ["Dataset", "TrainingRun", "CompressionJob"]
    assert told[1].endswith(f"SourceEmpty: {LONG}")
    assert told[2].endswith("42 %      training 195/465  3 min 10 s left  loss 0.3123")
    assert "\x1b" not in out.getvalue()
    assert len({line.index(said) for line, said in zip(told[2:], ("training", "4.0x smaller"), strict=True)}) == 1


@pytest.mark.parametrize("width", [40, 60, 70])
def test_a_narrow_terminal_shows_the_details_below_each_resource(width: int) -> None:
    shown_on, out = terminal(width)
    stuck = dataset(conditions=conditions("False", "SourceEmpty", LONG, stalled=True))
    watch.print_once(shown_on, pipeline.rows([stuck, run()]), "demo")
    plain = Text.from_ansi(out.getvalue()).plain.splitlines()
    assert plain[0].rstrip() == "Dataset r8  Succeeded"
    details = " ".join(line.strip() for line in plain[1 : plain.index("TrainingRun r8  Running  42 %")])
    assert details == f"4,936/549/2,189 rows, 3 classes SourceEmpty: {LONG}"
    assert max(len(line.rstrip()) for line in plain) <= width


@pytest.mark.parametrize("width", [40, 120])
def test_the_live_view_fits_its_terminal_and_says_how_long_it_has_looked(width: int) -> None:
    shown_on, out = terminal(width)
    with watch.LiveTable(shown_on, 0.0, lambda: 65.0) as live:
        live.show(pipeline.rows([dataset(), run()]), "no answer")
    plain = Text.from_ansi(out.getvalue()).plain
    assert "1 min 05 s  no answer" in plain
    assert ("DETAILS" in plain) == (width == 120)
    assert "4,936/549/2,189 rows, 3 classes" in plain


def test_a_wide_terminal_shows_a_table() -> None:
    shown_on, out = terminal(120)
    watch.print_once(shown_on, pipeline.rows([dataset(), run()]), "demo")
    assert Text.from_ansi(out.getvalue()).plain.split()[:5] == ["KIND", "NAME", "PHASE", "PROGRESS", "DETAILS"]


def test_a_new_list_forgets_what_was_deleted_while_the_connection_was_lost() -> None:
    board = Board()
    board.listed("Dataset", [dataset("a"), dataset("b")])
    board.listed("TrainingRun", [run("a")])
    board.lost["Dataset"] = "no answer"
    board.listed("Dataset", [dataset("b")])
    assert set(board.objects) == {("Dataset", "b"), ("TrainingRun", "a")}
    assert board.note == ""


@pytest.mark.parametrize(("event", "left"), [("ADDED", 1), ("MODIFIED", 1), ("DELETED", 0)])
def test_a_watch_event_changes_one_object(event: str, left: int) -> None:
    board = Board()
    board.changed("ADDED", dataset())
    board.changed(event, dataset())
    assert len(board.objects) == left
