"""The benchmark's table: who keeps the budget, who is ahead, and what is said of those who made nothing."""

from __future__ import annotations

from figures import BASELINE, REFERENCE, Entry, Found, Judgement, ahead, markdown, read_judgement, standing
from scores import Budget

BUDGET = Budget(accuracy_drop=0.01, macro_f1_drop=0.02)
KAON = "Kaon"


def found(size: int = 10, faster: float = 4.0, accuracy: float = 0.97) -> Found:
    return Found(size * 1_000_000, 8 / faster, faster, faster - 0.1, faster + 0.1, accuracy, 0.92)


def entry(one: Found | None = None, failure: str | None = None) -> Entry:
    return Entry(12.0, "tool 1.0", did="quantized" if one else None, failure=failure, found=one)


JUDGED = Judgement({BASELINE: found(90, 1.0), REFERENCE: found(90, 1.2)}, {})


def row(text: str, name: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ratios_are_relative_to_the_baseline() -> None:
    assert row(markdown(BUDGET, JUDGED, {KAON: entry(found(9, 5.0))}), KAON)[1:5] == [
        "9.00",
        "10.00×",
        "1.600",
        "5.00× (4.90–5.10)",
    ]


def test_a_model_that_lost_too_much_is_said_not_to_keep_the_budget() -> None:
    text = markdown(BUDGET, JUDGED, {KAON: entry(found()), "peer": entry(found(accuracy=0.95))})
    assert row(text, KAON)[7] == "yes"
    assert row(text, "peer")[7] == "**no**"


def test_a_contender_without_a_model_has_no_figures_but_a_reason() -> None:
    text = markdown(BUDGET, JUDGED, {"peer": entry(failure="does not install")})
    assert row(text, "peer")[1:8] == ["–"] * 6 + ["no model"]
    assert "- peer (tool 1.0): does not install" in text


def test_a_model_that_does_not_run_is_told_as_such_though_it_was_made() -> None:
    made = Entry(3.0, "tool 1.0", did="quantized", failure="what it made does not run", found=None)
    assert "does not run" in markdown(BUDGET, JUDGED, {"peer": made})


def test_nobody_is_ahead_of_the_smallest_and_fastest() -> None:
    entries = {KAON: entry(found(7, 5.0)), "peer": entry(found(23, 2.0)), "other": entry(found(7, 5.0))}
    assert ahead(BUDGET, JUDGED, entries, KAON) == {}
    assert standing(BUDGET, JUDGED, entries, KAON).startswith("No other model")


def test_whoever_is_smaller_or_faster_inside_the_budget_is_ahead() -> None:
    entries = {KAON: entry(found(7, 5.0)), "small": entry(found(6, 2.0)), "fast": entry(found(23, 5.5))}
    assert ahead(BUDGET, JUDGED, entries, KAON) == {"small": ["smaller"], "fast": ["faster"]}


def test_whoever_breaks_the_budget_is_ahead_of_nobody() -> None:
    entries = {KAON: entry(found(7, 5.0)), "peer": entry(found(1, 50.0, accuracy=0.5))}
    assert ahead(BUDGET, JUDGED, entries, KAON) == {}


def test_one_without_a_model_stands_where_the_baseline_stands() -> None:
    entries = {KAON: entry(failure="not supported yet"), "peer": entry(found(23, 2.0)), "slow": entry(found(91, 0.5))}
    assert ahead(BUDGET, JUDGED, entries, KAON) == {"peer": ["smaller", "faster"]}


def test_the_baseline_itself_is_no_contender() -> None:
    assert ahead(BUDGET, JUDGED, {KAON: entry(found(91, 0.9))}, KAON) == {}


def test_the_judges_document_is_read_back() -> None:
    document = {
        "found": {BASELINE: {"size_bytes": 9, "p50_ms": 1.0, "faster": 1.0, "faster_low": 1.0, "faster_high": 1.0}},
        "failed": {"peer": "why"},
    }
    document["found"][BASELINE] |= {"accuracy": 0.9, "macro_f1": 0.8}
    judged = read_judgement(document)
    assert judged.baseline.accuracy == 0.9
    assert judged.failed == {"peer": "why"}
