"""Family by family, what works: training, export, evaluation, serving, and each step of compression.

A cell is "works", or the sentence with which the combination is refused before its training. Anything else is raised:
it is a defect. What the last full run found is recorded beside this file, and docs/families.md is made from that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from kaon.api.report import Result
from kaon_jobs.errors import StageFailure

from .builders import FAMILIES
from .compression import STEPS, run_step
from .pipeline import CHECKPOINTING, EVERY_FIELD, PLAIN, Pipeline, check_parity_at_five_lengths, check_served

WORKS = "works"
MODEL_CELLS = ("train", "every recipe field", "gradient checkpointing", "parity at five lengths", "evaluate", "serve")
CELLS = (*MODEL_CELLS, *STEPS)

HERE = Path(__file__).parent
RECORDED = HERE / "recorded"
PAGE = HERE.parents[1] / "docs" / "families.md"

Found = dict[str, str]
"""Cell -> what came of it."""


def attempts(family: str, cells: Sequence[str], root: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Cells of one family, each with what tries it in a scratch folder and returns what came of it."""
    pipeline = Pipeline(root)
    base = root / "base"
    FAMILIES[family](base)
    made: list[Result] = []

    def model() -> Result:
        if not made:
            made.append(pipeline.train(base, PLAIN))
        return made[0]

    def artifact() -> Path:
        return pipeline.folder(model())

    tries: dict[str, Callable[[], object]] = {
        "train": model,
        "every recipe field": lambda: pipeline.train(base, EVERY_FIELD),
        "gradient checkpointing": lambda: pipeline.train(base, CHECKPOINTING),
        "parity at five lengths": lambda: check_parity_at_five_lengths(artifact(), pipeline.texts()),
        "evaluate": lambda: pipeline.evaluate(model()),
        "serve": lambda: check_served(pipeline.served(model())),
    }
    for cell in cells:
        if cell in tries:
            yield cell, partial(_outcome, tries[cell])
        else:
            yield cell, lambda cell=cell: run_step(artifact(), cell).sentence or WORKS  # type: ignore[misc]


def _outcome(tried: Callable[[], object]) -> str:
    try:
        tried()
    except StageFailure as failure:
        assert not failure.retriable, failure.message
        return re.sub(r"file:///\S+", "the folder", failure.message)
    return WORKS


def recorded(family: str) -> Found:
    """What the last full run found of a family."""
    file = RECORDED / f"{family}.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def record(family: str, cell: str, outcome: str) -> None:
    """Keeps one cell."""
    RECORDED.mkdir(exist_ok=True)
    found = {**recorded(family), cell: outcome}
    text = json.dumps({name: found[name] for name in CELLS if name in found}, indent=1, ensure_ascii=False)
    (RECORDED / f"{family}.json").write_text(text + "\n", encoding="utf-8")


def rendered() -> str:
    """docs/families.md, from what is recorded."""
    sentences: dict[str, int] = {}
    found = {family: recorded(family) for family in FAMILIES}

    def shown(outcome: str | None) -> str:
        if outcome is None:
            return "not tried"
        return "yes" if outcome == WORKS else f"[{sentences.setdefault(outcome, len(sentences) + 1)}]"

    def table(cells: tuple[str, ...], first: str) -> str:
        lines = [f"| {first} | {' | '.join(FAMILIES)} |", f"|---|{'---|' * len(FAMILIES)}"]
        lines += [f"| {cell} | {' | '.join(shown(found[one].get(cell)) for one in FAMILIES)} |" for cell in cells]
        return "\n".join(lines)

    training, compression = table(MODEL_CELLS, "training"), table(tuple(STEPS), "compression")
    notes = "\n".join(f"{number}. {sentence}" for sentence, number in sentences.items())
    return f"""# Families of base models
What works on which family of base models. Each cell is a test on a tiny model of the family with a tokenizer of the
family's own kind: `python tests/families --full` tries them all and writes this page. "yes" means that it works and
answers as it should at every length, an empty text and one of full length among them. A number means that it is refused
before any training, with the sentence below. Other families that transformers can load with a classification head are
tried before their training in the same way: what cannot be exported or answers otherwise is refused in seconds.

{training}

{compression}

## What is refused
{notes or "Nothing."}
"""
