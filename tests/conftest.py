"""For all tests: a table of outcomes and times by kind (the folder below tests/) at the end of a run."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Printed before pytest's own closing line."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    for outcome in ("", *OUTCOMES):  # "": set-up and tear-down that went well, for their time
        for report in terminalreporter.stats.get(outcome, []):
            kind = report.nodeid.split("/")[1]
            seconds[kind] += getattr(report, "duration", 0.0)
            if outcome:
                counts[kind][outcome] += 1
    terminalreporter.section("by kind")
    for kind in counts:
        said = ", ".join(f"{count} {outcome}" for outcome, count in counts[kind].items())
        terminalreporter.write_line(f"{kind:10}{seconds[kind]:8.1f} s   {said}")
