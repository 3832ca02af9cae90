"""`kaon compare`: the figures of the two models, and when there are none."""

from __future__ import annotations

import io

import pytest
from cli_objects import OTHER_DIGEST, artifact, conditions, evaluation, job, run
from metricvalues import metrics
from rich.console import Console

from kaon.api.compressionjob import Interval, Undecided
from kaon.api.evaluation import SimpleBaseline
from kaon.cli.compare import compare
from kaon.cli.errors import CliError
from kaon.cli.main import show_comparison


def test_every_figure_stands_beside_its_change() -> None:
    found = compare(run(), job())
    assert {name: tuple(cells) for name, *cells in found.rows} == {
        "accuracy": ("0.9703", "0.9698", "-0.05 pt"),
        "macro-F1": ("0.9218", "0.9228", "+0.10 pt"),
        "answers changed": ("", "", "0.32%"),
        "size": ("91.0 MB", "22.9 MB", "3.97x smaller"),
        "latency p50": ("9.12 ms", "4.57 ms", "2.00x faster (95 %: 1.93 to 2.07)"),
        "latency p99": ("14.00 ms", "8.20 ms", ""),
    }
    assert (found.verdict, found.message) == ("Accepted", "fusion+int8-dynamic keeps every budget")


def test_figures_in_a_unit_of_their_own_are_no_percentages_and_a_lost_one_has_risen() -> None:
    before, after = metrics(rmse=53.21, mae=1234.5, r2=0.875), metrics(rmse=54.71, mae=1233.0, r2=-0.5)
    regression = job(
        task="tabular-regression",
        baseline=evaluation(metrics=before),
        evaluation=evaluation(metrics=after, size_bytes=22_900_000),
        drops={"rmse": 1.5, "mae": -1.5},
        flip_rate=None,
    )
    assert [row for row in compare(run(), regression).rows if "latency" not in row[0]] == [
        ("RMSE", "53.21", "54.71", "+1.5"),
        ("MAE", "1,234", "1,233", "-1.5"),
        ("R²", "0.875", "-0.5", ""),
        ("size", "91.0 MB", "22.9 MB", "3.97x smaller"),
    ]


def test_slower_is_not_called_faster() -> None:
    found = compare(run(), job(speedup=Interval(value=0.59, low=0.55, high=0.62)))
    assert ("latency p50", "9.12 ms", "4.57 ms", "0.59x as fast (95 %: 0.55 to 0.62)") in found.rows


def test_a_verdict_without_a_candidate_shows_the_baseline_alone() -> None:
    infeasible = job(
        verdict="Infeasible",
        conditions=conditions("False", "BudgetInfeasible", Accepted=("False", "minSizeRatio 9 is out of reach")),
        **dict.fromkeys(["evaluation", "speedup", "size_ratio", "flip_rate"]),
        drops={},
    )
    found = compare(run(), infeasible)
    assert ("size", "91.0 MB", "–", "") in found.rows
    assert (found.verdict, found.message) == ("Infeasible", "minSizeRatio 9 is out of reach")


def test_an_inconclusive_verdict_says_of_which_class_how_many_rows_are_missing() -> None:
    found = compare(
        run(),
        job(
            verdict="Inconclusive",
            undecided=[
                Undecided(budget="maxDrop.macroF1", class_name="grain", rows=10, more_rows=24, certainty=0.82),
                Undecided(budget="maxDrop.accuracy", rows=2189, more_rows_of_all=400, certainty=0.9),
                Undecided(budget="maxClassRecallDrop", class_name="ship", rows=36, certainty=0.4),
            ],
        ),
    )
    assert found.verdict == "Inconclusive"
    assert found.remarks[1:] == [
        "maxDrop.macroF1: 82% certain to be kept; grain has 10 test rows, about 24 more would decide.",
        "maxDrop.accuracy: 90% certain to be kept; there are 2,189 test rows, about 400 more of all classes would "
        "decide.",
        "maxClassRecallDrop: 40% certain to be kept; ship has 36 test rows, no number of rows near would decide.",
    ]


def test_a_job_that_compresses_another_run_is_refused_with_the_right_command() -> None:
    with pytest.raises(CliError) as error:
        compare(run("other"), job("small", reads="r8"))
    assert error.value.hint == "kaon compare r8 small"


def test_a_job_that_is_not_done_says_what_it_waits_for() -> None:
    waiting = job(
        baseline=None, phase="Waiting", conditions=conditions("False", "InputsNotReady", "TrainingRun r8 runs")
    )
    with pytest.raises(CliError, match="no figures yet: waits for TrainingRun r8"):
        compare(run(), waiting)


def test_figures_of_an_older_training_are_marked() -> None:
    assert not any("trained again" in remark for remark in compare(run(artifact=artifact()), job()).remarks)
    assert any("trained again" in remark for remark in compare(run(artifact=artifact(OTHER_DIGEST)), job()).remarks)


def test_into_a_pipe_nothing_is_cut_or_folded() -> None:
    out = io.StringIO()
    said = "chosen as the steps say: " + "with 95 % confidence the budget is kept, " * 8
    accepted = job(conditions=conditions("True", Accepted=("True", said.strip())))
    show_comparison(Console(file=out, width=30, force_terminal=False), compare(run(), accepted))
    told = out.getvalue().splitlines()
    assert any(line.rstrip().endswith("2.00x faster (95 %: 1.93 to 2.07)") for line in told)
    assert f"Accepted  {said.strip()}" in told


def test_a_simple_baseline_of_the_trained_model_is_told() -> None:
    simple = SimpleBaseline(name="linear SVM on TF-IDF", metrics=metrics(accuracy=0.9758, macroF1=0.9347))
    found = compare(run(evaluation=evaluation(baseline=simple)), job())
    told = "Beside r8: a linear SVM on TF-IDF is better: accuracy 0.9758, macro-F1 0.9347."
    assert told in found.remarks
