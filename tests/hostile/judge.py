"""What became of an input, in a word, and whether that is as it must be. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hostile.cases import Case
from hostile.schema import Object

OUTCOMES = ("refused", "timed out", "stalled", "waits", "suspended", "started", "told", "collected", "problem")
"""timed out: the API server's own time was up before it had counted everything that is wrong, and nothing was stored.
told: what a pod reported shows in the status. collected: taken by the garbage collector, since its owner is absent."""
TIMED_OUT = 504
WAITS = ("ReferenceNotFound", "InputsNotReady", "InputsFailed")
BEGINS = ("Pending", "Running", "Progressing", "Degraded")


@dataclass(frozen=True)
class Verdict:
    """The end of one input."""

    case: Case
    outcome: str
    said: str
    """The refusal, the condition's reason and message, or what is wrong."""

    @property
    def is_problem(self) -> bool:
        """Whether somebody has to look."""
        return self.outcome == "problem"

    def __str__(self) -> str:
        case = self.case
        about = f"{case.index} {case.klass}, {case.kind}, {case.what}"
        return f"{about}: {self.outcome}: {self.said[:600]}\n    {case.again}"


def of_refusal(case: Case, status: int, body: Object) -> Verdict:
    """An answer of the API server that is no success."""
    message = str(body.get("message") or "")
    if status == TIMED_OUT and case.expects == "any":
        return Verdict(case, "timed out", message)
    if status == 0 or status >= 500:
        return Verdict(case, "problem", f"the API server failed with {status}: {message}")
    if not message:
        return Verdict(case, "problem", f"refused with {status} and without a word")
    if case.expects == "accepted":
        return Verdict(case, "problem", f"a valid object was refused: {message}")
    causes = (body.get("details") or {}).get("causes") or []
    if status == 422 and not any(cause.get("field") for cause in causes):
        return Verdict(case, "problem", f"the refusal names no field: {message}")
    if case.field and case.field not in message:
        return Verdict(case, "problem", f"the refusal does not name {case.field}: {message}")
    return Verdict(case, "refused", message)


def of_status(case: Case, obj: Object, children: str, pods: Iterable[str]) -> Verdict:
    """The status that the operator gave an accepted object. `children`: the workload that it led to; `pods`: what is
    wrong with its pods."""
    status = obj.get("status", {})
    conditions = {item["type"]: item for item in status.get("conditions", ())}
    ready, stalled = conditions.get("Ready", {}), conditions.get("Stalled", {})
    said = f"{ready.get('reason')}: {ready.get('message')}"
    wrong = list(pods)
    if case.expects == "refused":
        return Verdict(case, "problem", f"taken, although {case.what}")
    if wrong:
        return Verdict(case, "problem", "; ".join(wrong))
    if not ready or not ready.get("reason") or not ready.get("message"):
        return Verdict(case, "problem", f"no Ready condition with a reason and a message: {status}")
    if ready.get("observedGeneration") != obj["metadata"]["generation"]:
        return Verdict(case, "problem", f"the status is not of this generation: {status}")
    if stalled.get("status") == "True":
        return Verdict(case, "stalled", said)
    if ready["reason"] in WAITS:
        return Verdict(case, "waits", said)
    if ready["reason"] == "Suspended":
        return Verdict(case, "suspended", said)
    if status.get("phase") in BEGINS and children:
        return Verdict(case, "started", said)
    return Verdict(case, "problem", f"neither stalled nor waiting nor started: {status}")


@dataclass
class Tally:
    """All verdicts so far."""

    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def problems(self) -> list[Verdict]:
        """Those that somebody has to look at."""
        return [verdict for verdict in self.verdicts if verdict.is_problem]

    def table(self) -> str:
        """Counts by class and outcome."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for verdict in self.verdicts:
            counts[verdict.case.klass][verdict.outcome] += 1
        rows = [("class", *OUTCOMES, "all")]
        for klass in sorted(counts):
            row = counts[klass]
            rows.append((klass, *(str(row[outcome] or "") for outcome in OUTCOMES), str(row.total())))
        total = sum(counts.values(), Counter[str]())
        rows.append(("all", *(str(total[outcome]) for outcome in OUTCOMES), str(total.total())))
        return "\n".join("".join(f"{cell:>11}" if at else f"{cell:<14}" for at, cell in enumerate(row)) for row in rows)

    def reasons(self) -> dict[str, int]:
        """How often each reason was given to an object that was taken."""
        found: Counter[str] = Counter()
        for verdict in self.verdicts:
            if verdict.outcome not in ("refused", "problem"):
                found[f"{verdict.outcome}: {verdict.said.split(':', 1)[0]}"] += 1
        return dict(found.most_common())


def workload_pods(workload: Object) -> Any:
    """The pod template's spec of a Job or a Deployment."""
    return workload["spec"]["template"]["spec"]
