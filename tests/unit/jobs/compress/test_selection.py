"""Which candidate goes to the test split: by the objective among those that keep it, as far as rows can tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kaon.api.evaluation import Latency
from kaon_jobs.compress.verdict.figures import Measured
from kaon_jobs.compress.verdict.message import bound_sentence, infeasible
from kaon_jobs.compress.verdict.selection import Contender, Standing, choose, contender, nearest, pareto

from .figures_of import budget_of, measured, quality

BUDGET = {"maxDrop": {"accuracy": 0.01, "macroF1": 0.02}, "maxClassRecallDrop": 0.05}


def _surely(item: Contender) -> float:
    return 1.0


def _likely(item: Contender) -> float:
    return 0.92


def _passing(**chances: float) -> Callable[[Contender], float]:
    return lambda item: chances[item.name]


def _contender(
    name: str, candidate: Measured, budget: dict[str, Any] | None = None, objective: str = "latency"
) -> Contender:
    return contender(name, candidate, budget_of(budget or BUDGET), objective)


def test_a_flip_in_a_class_of_four_rows_does_not_rule_a_candidate_out() -> None:
    assert _contender("x", measured(quality(lost_small=1))).standing is not Standing.BREAKS


def test_the_more_of_a_small_class_is_lost_the_less_likely_the_budget_is_kept() -> None:
    chances = [_contender("x", measured(quality(lost_small=lost))).chance for lost in range(4)]
    assert chances == sorted(chances, reverse=True) and chances[0] > 0.9 and chances[3] < 0.05


def test_what_is_likely_and_what_is_possible_and_what_is_out_of_the_question() -> None:
    budget = {"maxDrop": {"accuracy": 0.01}}
    standings = [_contender("x", measured(quality(lost_big=lost)), budget).standing for lost in (3, 13, 60)]
    assert standings == [Standing.KEEPS, Standing.DOUBTFUL, Standing.BREAKS]


def test_what_is_tolerated_in_selection_is_still_told() -> None:
    found = _contender("x", measured(quality(lost_small=1)))
    assert "recall drop of 'small' (4 rows) 0.25 exceeds 0.05" in [item.sentence for item in found.violations]


def test_a_class_without_validation_rows_is_left_to_the_test_split() -> None:
    assert _contender("x", measured(quality(small=0))).standing is Standing.KEEPS


def test_sizes_leave_no_doubt() -> None:
    found = _contender("x", measured(size_ratio=3.4), {**BUDGET, "minSizeRatio": 3.5})
    assert found.standing is Standing.BREAKS


def test_a_missing_figure_keeps_nothing() -> None:
    assert _contender("x", measured(peak_memory_bytes=None), {"maxPeakMemoryBytes": 999}).standing is Standing.BREAKS


def test_the_fastest_of_those_that_keep_the_budget_is_chosen() -> None:
    slow = _contender("slow", measured(speed=(1.5, 1.45, 1.55)))
    fast = _contender("fast", measured(speed=(2.5, 2.4, 2.6)))
    fastest_but_bad = _contender("bad", measured(quality(lost_big=60), speed=(9, 8, 10)))
    assert choose([slow, fast, fastest_but_bad], "latency", _surely) == fast


def test_among_equally_fast_ones_the_one_that_answers_most_alike_is_chosen_and_not_the_luckiest() -> None:
    budget = {"maxDrop": {"accuracy": 0.03}}
    alike = _contender("alike", measured(quality(lost_big=1, big=80), divergence=0.002), budget)
    lucky = _contender("lucky", measured(quality(big=80), divergence=0.008), budget)
    assert alike.standing is lucky.standing is Standing.KEEPS and not alike.shown and not lucky.shown
    assert choose([alike, lucky], "latency", _surely) == alike == choose([lucky, alike], "latency", _surely)


def test_of_those_that_answer_as_much_alike_the_least_loss_is_chosen() -> None:
    lossy = _contender("lossy", measured(quality(lost_big=5), speed=(2.03, 1.95, 2.1)))
    clean = _contender("clean", measured(speed=(2.0, 1.95, 2.08)))
    assert choose([lossy, clean], "latency", _surely) == clean == choose([clean, lossy], "latency", _surely)


def test_a_few_microseconds_do_not_decide() -> None:
    fast = _contender("fast", measured(speed=(5, 4.9, 5.1), latency=Latency(p50=0.016, p99=0.03), divergence=0.008))
    faithful = _contender("faithful", measured(latency=Latency(p50=0.035, p99=0.05), divergence=0.002))
    slow = _contender("slow", measured(latency=Latency(p50=0.037, p99=0.05), divergence=0.001))
    assert choose([fast, faithful, slow], "latency", _likely) == faithful


def test_of_those_about_as_fast_the_one_that_answers_most_alike_is_chosen() -> None:
    def one(name: str, speed: float, divergence: float) -> Contender:
        return _contender(name, measured(speed=(speed, speed - 0.05, speed + 0.05), divergence=divergence))

    fast, faithful, slow = one("fast", 3.6, 0.008), one("faithful", 3.1, 0.002), one("slow", 2.7, 0.001)
    assert choose([fast, faithful, slow], "latency", _likely) == faithful


def test_where_rows_show_that_the_budget_is_kept_the_smaller_of_two_fast_ones_is_chosen() -> None:
    def two(big: int) -> tuple[Contender, Contender]:
        budget = {"maxDrop": {"accuracy": 0.01}}
        large = _contender("large", measured(quality(big=big), size_bytes=50_000), budget)
        return large, _contender("small", measured(quality(lost_big=1, big=big), size_bytes=30_000), budget)

    large, small = two(big=996)
    assert large.shown and small.shown
    assert choose([large, small], "latency", _surely) == small
    assert choose([large, small], "latency", _passing(large=1.0, small=0.6)) == large
    large, small = two(big=150)
    assert not large.shown and not small.shown
    assert choose([large, small], "latency", _surely) == large


def test_the_objective_size_chooses_the_smallest_and_then_the_faster() -> None:
    budget = {"maxDrop": {"accuracy": 0.01}}
    large = _contender("large", measured(size_bytes=50_000), budget, objective="size")
    small = _contender("small", measured(size_bytes=25_000, speed=(1.2, 1.1, 1.3)), budget, objective="size")
    alike = _contender("alike", measured(size_bytes=25_100), budget, objective="size")
    assert choose([large, small], "size", _surely) == small
    assert choose([large, small, alike], "size", _surely) == alike


def _of_speed(name: str, speed: float, lost_big: int = 0) -> Contender:
    figures = measured(quality(lost_big=lost_big), speed=(speed, speed - 0.05, speed + 0.05))
    return _contender(name, figures, {"maxDrop": {"accuracy": 0.01}})


def test_the_fastest_is_not_believed_when_those_hardly_slower_lose_too_much() -> None:
    slow, lucky = _of_speed("slow", 3), _of_speed("lucky", 9)
    kin = [_of_speed(f"kin{lost}", 6 + lost / 10, lost_big=lost) for lost in (12, 13)]
    assert lucky.standing is Standing.KEEPS and all(item.standing is Standing.DOUBTFUL for item in kin)
    assert choose([slow, lucky], "latency", _surely) == lucky
    assert choose([slow, *kin, lucky], "latency", _surely) == slow == choose([lucky, *kin, slow], "latency", _surely)


def test_faster_ones_that_lose_too_much_and_ones_that_failed_speak_against_nobody() -> None:
    slow, fast = _of_speed("slow", 3), _of_speed("fast", 6)
    failed, faster = _of_speed("failed", 4, lost_big=300), _of_speed("faster", 9, lost_big=13)
    assert choose([slow, failed, fast, faster], "latency", _surely) == fast


def test_by_size_it_is_the_larger_ones_that_speak() -> None:
    def of_size(name: str, size: int, lost_big: int = 0) -> Contender:
        figures = measured(quality(lost_big=lost_big), size_bytes=size)
        return _contender(name, figures, {"maxDrop": {"accuracy": 0.01}}, objective="size")

    large, small = of_size("large", 50_000), of_size("small", 20_000)
    kin = [of_size(f"kin{lost}", 30_000 - lost, lost_big=lost) for lost in (12, 13)]
    assert choose([small, large], "size", _surely) == small
    assert choose([small, *kin, large], "size", _surely) == large


def test_when_nobody_is_believed_the_rows_decide_alone() -> None:
    kin, fast = _of_speed("kin", 3, lost_big=13), _of_speed("fast", 6)
    assert choose([kin, fast], "latency", _surely) == fast


def test_a_doubtful_one_is_sent_only_when_none_keeps_the_budget() -> None:
    budget = {"maxDrop": {"accuracy": 0.01}}
    doubtful = _contender("doubtful", measured(quality(lost_big=13), speed=(3, 2.9, 3.1)), budget)
    keeps = _contender("keeps", measured(), budget)
    assert choose([doubtful, keeps], "latency", _surely) == keeps
    assert choose([doubtful], "latency", _surely) == doubtful


def test_the_test_split_is_not_spent_on_the_fastest_when_a_slower_one_is_likelier_to_pass() -> None:
    fast = _contender("fast", measured(speed=(5, 4.9, 5.1)))
    slow = _contender("slow", measured(speed=(2, 1.9, 2.1)))
    assert choose([fast, slow], "latency", _passing(fast=0.8, slow=0.95)) == slow
    assert choose([fast, slow], "latency", _passing(fast=0.92, slow=0.99)) == fast
    assert choose([fast, slow], "latency", _passing(fast=0.2, slow=0.4)) == slow


def test_nothing_is_chosen_when_all_break_the_budget_and_the_nearest_is_named() -> None:
    far = _contender("far", measured(quality(lost_big=300)))
    near = _contender("near", measured(quality(lost_big=60)))
    assert choose([far, near], "latency", _surely) is None
    assert nearest([far, near]) == near
    sentence = infeasible(None, near, 2, "every rescue is tried")
    assert "after 2 trials" in sentence and "near, with 0.0 kB (4.00 times smaller)" in sentence
    assert "accuracy drop 0.06 exceeds 0.01" in sentence and "It would keep maxDrop.accuracy 0.06" in sentence


def test_a_bound_names_what_is_possible() -> None:
    assert bound_sentence(3.9, 4000, 1000) is None
    assert bound_sentence(50, 4000, 1000) == (
        "The size budget cannot be met: it asks for a model 50 times smaller, and with at least eight bits a weight it "
        "is at most 4 times smaller"
    )


def test_the_front_holds_what_nothing_beats_in_both_size_and_speed() -> None:
    small = _contender("small", measured(size_bytes=20, speed=(1.5, 1.4, 1.6)))
    fast = _contender("fast", measured(size_bytes=25, speed=(2.0, 1.9, 2.1)))
    beaten = _contender("beaten", measured(size_bytes=30, speed=(1.8, 1.7, 1.9)))
    assert [item.name for item in pareto([beaten, fast, small])] == ["small", "fast"]
