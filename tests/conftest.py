"""For all tests: who runs together when there are two workers, and a table of outcomes and times by kind at the end.

The kind of a test is its folder below tests/. With `pytest -n 2` the end-to-end tests, which share one cluster and
mostly wait, run in one worker, and all others beside them in the other, file by file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from knownkeys import TRUST, root_key_file
from xdist.scheduler import LoadScopeScheduling

from kaon_jobs.store.trust import TRUST_VARIABLE, write_keys

E2E = Path(__file__).parent / "e2e"
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


class ByCluster(LoadScopeScheduling):
    """Tests that share a cluster go to one worker: all end-to-end tests, and the tests of one file."""

    def _split_scope(self, nodeid: str) -> str:
        return "e2e" if nodeid.startswith("tests/e2e/") else nodeid.split("::")[0]


@pytest.fixture(scope="session", autouse=True)
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Operators and stages that tests start as processes use keys that the tests know, too."""
    folder = tmp_path_factory.mktemp("keys")
    write_keys(folder / "trust", TRUST.key("test"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAON_ROOT_KEY_FILE", str(root_key_file(folder)))
        patch.setenv(TRUST_VARIABLE, str(folder / "trust"))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-root", action="store_true", help="leave out tests/e2e, and say so at the end")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """The id of a parameter; None leaves it to pytest.

    Bytes are never part of an id: a compressed file holds the time it was made, and both workers have to find the
    same ids.
    """
    return argname if isinstance(val, bytes) else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """True: leave it out; None: leave it to pytest."""
    # Not the folder itself: what pytest is told to collect by name, it collects.
    return True if config.getoption("--without-root") and E2E in collection_path.parents else None


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByCluster:
    """How pytest-xdist shares out the tests. (Its own `--dist loadgroup` has no effect with pytest 9.2.)"""
    return ByCluster(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Printed before pytest's own closing line."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    for outcome in ("", *OUTCOMES):  # "": set-up and tear-down that went well, for their time
        for report in terminalreporter.stats.get(outcome, []):
            parts = report.nodeid.split("/")
            kind = parts[1] if len(parts) > 1 else "collection"  # workers that found different tests: "gw1"
            seconds[kind] += getattr(report, "duration", 0.0)
            if outcome:
                counts[kind][outcome] += 1
    terminalreporter.section("by kind")
    for kind in counts:
        said = ", ".join(f"{count} {outcome}" for outcome, count in counts[kind].items())
        terminalreporter.write_line(f"{kind:10}{seconds[kind]:8.1f} s   {said}")
    if terminalreporter.config.getoption("--without-root"):
        files = len(list(E2E.glob("test_*.py")))
        terminalreporter.write_line(
            f"Left out: the {files} files of tests/e2e, which start a real Kubernetes node and need root. "
            "To run them too, run make test as root: sudo -E make test"
        )
