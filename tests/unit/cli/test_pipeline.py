"""What the command line makes of objects: their order, their state, and the sentence that explains them."""

from __future__ import annotations

import pytest
from cli_objects import conditions, dataset, deployment, evaluation, job, obj, run
from metricvalues import metrics

from kaon.api.common import Progress
from kaon.api.compressionjob import Interval
from kaon.cli import pipeline
from kaon.cli.pipeline import State


def test_resources_stand_in_the_order_in_which_data_flows() -> None:
    shuffled = [
        deployment("b-served", ("TrainingRun", "b-run")),
        job("a-small", "a-run"),
        run("b-run", "b"),
        dataset("b"),
        deployment("a-served", ("CompressionJob", "a-small")),
        run("a-run", "a"),
        dataset("a"),
    ]
    assert [row.name for row in pipeline.rows(shuffled)] == [
        "a", "a-run", "a-small", "a-served", "b", "b-run", "b-served",
    ]  # fmt: skip


def test_a_resource_whose_reference_does_not_exist_is_still_shown() -> None:
    waiting = run("lonely", "nowhere", phase="Waiting", progress=None,
                  conditions=conditions("False", "ReferenceNotFound", "Dataset nowhere does not exist"))  # fmt: skip
    shown = pipeline.rows([waiting, dataset("r8")])
    assert [row.name for row in shown] == ["r8", "lonely"]
    assert (shown[1].reason, shown[1].message) == ("ReferenceNotFound", "Dataset nowhere does not exist")


def test_a_resource_that_waits_names_the_one_it_waits_for_and_leaves_the_rest_to_its_row() -> None:
    said = "Waiting for TrainingRun r8: Job r8-trun-1: training."
    waiting = job(phase="Waiting", conditions=conditions("False", "InputsNotReady", said))
    row = pipeline.row(waiting)
    assert (row.reason, row.message) == ("", "waits for TrainingRun r8")


def test_a_running_stage_shows_step_time_left_and_metrics() -> None:
    row = pipeline.row(run())
    assert (row.state, row.percent, row.step) == (State.WORKING, 42.0, "training 195/465")
    assert (row.eta, row.metric) == ("3 min 10 s", "loss 0.3123")


def test_a_phase_that_counts_by_itself_is_not_counted_twice() -> None:
    trial = Progress(percent=30, phase="trial 2/4: int8-dynamic", step=2, total_steps=4)
    assert pipeline.row(job(conditions=conditions("False", "Running"), progress=trial)).step == trial.phase


def test_a_finished_run_shows_its_quality() -> None:
    row = pipeline.row(run(conditions=conditions("True"), phase="Succeeded", evaluation=evaluation()))
    assert (row.state, row.percent, row.metric) == (State.READY, 100.0, "accuracy 0.9703, macro-F1 0.9218")


def test_a_finished_dataset_shows_rows_and_classes() -> None:
    assert pipeline.row(dataset()).metric == "4,936/549/2,189 rows, 3 classes"
    assert pipeline.row(dataset(class_count=1000)).metric == "4,936/549/2,189 rows, 1,000 classes"


def test_a_compression_shows_what_was_won_and_lost() -> None:
    assert pipeline.row(job()).metric == "4.0x smaller, 2.0x faster, accuracy -0.05 pt"


def test_of_a_regression_no_figure_is_a_percentage_and_no_class_is_counted() -> None:
    shown = pipeline.rows(
        [
            dataset(classes=[]),
            run(
                phase="Succeeded",
                conditions=conditions("True"),
                task="tabular-regression",
                evaluation=evaluation(metrics=metrics(rmse=53210.6, r2=0.875)),
            ),
            job(task="tabular-regression", drops={"rmse": 1.25}),
        ]
    )
    assert [row.metric for row in shown] == [
        "4,936/549/2,189 rows",
        "RMSE 53,211, R² 0.875",
        "4.0x smaller, 2.0x faster, RMSE +1.25",
    ]


def test_a_ready_deployment_shows_where_it_answers() -> None:
    row = pipeline.row(deployment())
    assert row.message == "http://r8.demo.svc.cluster.local/v2/models/r8/infer"
    assert row.metric == "1/1 replica ready"


def test_a_stalled_resource_shows_the_cause_and_commands_that_tell_more() -> None:
    row = pipeline.row(
        run(phase="Failed", conditions=conditions("False", "OutOfMemory", "raise the limit", stalled=True))
    )
    assert (row.state, row.reason, row.message) == (State.STALLED, "OutOfMemory", "raise the limit")
    assert pipeline.way_out(row, "demo") == [
        "kubectl -n demo describe trun r8",
        "kubectl -n demo logs job/r8-trun-0123456789",
    ]


@pytest.mark.parametrize("old", [conditions("True"), conditions("False", stalled=True)])
def test_conditions_of_an_older_generation_decide_nothing(old: list) -> None:
    edited = {**run(conditions=old), "metadata": {"name": "r8", "generation": 2}}
    row = pipeline.row(edited)
    assert row.state is State.WORKING
    assert "last edit" in row.message


def test_a_resource_that_nobody_has_looked_at_says_so() -> None:
    row = pipeline.row(obj("Dataset", "new", {}))
    assert (row.state, row.phase) == (State.WORKING, "New")
    assert "operator" in row.message


def test_a_suspended_resource_is_neither_ready_nor_stuck() -> None:
    waiting = run(conditions=conditions("False", "Suspended", "spec.suspend is true"), progress=None)
    waiting["spec"]["suspend"] = True
    assert pipeline.row(waiting).state is State.SUSPENDED


def test_a_status_of_another_version_still_shows_phase_and_reason() -> None:
    strange = run()
    strange["status"]["evaluation"] = {"metrics": {"accuracy": "a new form"}}
    row = pipeline.row(strange)
    assert (row.phase, row.reason) == ("Running", "Running")


def test_a_deployment_that_is_stuck_points_at_the_logs_of_its_pods() -> None:
    row = pipeline.row(deployment(conditions=conditions("False", "CrashLoop", "last words:\n  line two", stalled=True)))
    assert row.message == "last words: line two"
    assert pipeline.way_out(row, "demo")[-1].endswith(
        "--selector kaon.dev/owner-kind=ModelDeployment,kaon.dev/owner=r8"
    )


def test_no_loss_is_not_shown_as_a_negative_zero() -> None:
    assert pipeline.row(job(drops={"accuracy": 0.0})).metric.endswith("accuracy +0.00 pt")


def test_a_slower_model_is_not_called_faster() -> None:
    slower = Interval(value=0.8, low=0.7, high=0.9)
    assert "0.8x as fast" in pipeline.row(job(speedup=slower)).metric
