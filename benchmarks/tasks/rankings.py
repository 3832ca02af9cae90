"""Models that rank items beside the library implicit, on the same histories and questions, in one run.

    python benchmarks/tasks/rankings.py [--seeds 3] [--by time --by user] [--cache FOLDER]

See README.md. MovieLens 100k comes out of a package by hash (requirements/data.lock), and is not part of the project.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# PyTorch first: others find its OpenMP runtime then.
from kaon_jobs.learn.recommend.training import AUTO, Choice, train

# isort: split
import numpy as np
from numpy.typing import NDArray

from kaon.api.dataset import Clean, DataSchema, Split
from kaon.tasks.metrics import RANKING
from kaon.tasks.registry import TASKS
from kaon_jobs.data.budget import ReadingBudget
from kaon_jobs.data.files import identify
from kaon_jobs.data.interactions import Divided, clean, divide
from kaon_jobs.data.read import read_file
from kaon_jobs.data.rows import Columns, FileRows, Table
from kaon_jobs.learn.recommend.material import Material, Questions, as_matrix, questions_of, ranked
from kaon_jobs.machine import cpu_limit
from kaon_jobs.measure.ranking import PLACES, by_user

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "hack"))
from demo import data  # noqa: E402  of the examples

LENGTH = 128
COLUMNS = {"user_id:token": "user", "item_id:token": "item", "rating:float": "rating", "timestamp:float": "time",
           "film": "text"}  # fmt: skip
NEIGHBOURS = (20, 50, 100, 200, 500)
FACTORS = (16, 32, 64, 128)
Figures = dict[str, float]
Ranks = Callable[[Any], NDArray[np.int64]]


def main() -> None:
    """Prints a table for each way to divide."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--by", action="append", choices=["time", "user", "random"])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "kaon")
    args = parser.parse_args()
    peers = _peers(args.cache)
    table = _table(data.fetch(args.cache).folder / data.FILMS)
    for by in args.by or ["time", "user"]:
        divided, test = _divided(table, by)
        runs = [dict(_contest(divided, test, seed, peers)) for seed in range(args.seeds)]
        _print(by, divided, len(test), runs)


def _table(path: Path) -> Table:
    schema = DataSchema.model_validate({"features": [{"name": name, "type": kind} for name, kind in COLUMNS.items()]})
    columns, budget = Columns.of(schema, TASKS["recommendation"]), ReadingBudget()
    rows = FileRows(path.name, columns, budget)
    read_file(identify(path.name, path, "csv", budget, in_folder=False), rows, "utf-8", "tab")
    table = Table(columns)
    table.take(rows, None)
    return table


def _divided(table: Table, by: str) -> tuple[Divided, Questions]:
    found, _ = clean(table, Clean())
    divided = divide(found, table, Split.model_validate({"by": by}))
    asked = divided.asked["test"]
    return divided, Questions(asked.histories, asked.targets)


def _contest(divided: Divided, test: Questions, seed: int, implicit: Any) -> Iterator[tuple[str, Figures]]:
    """Model -> its figures on the test questions. All choose what is theirs to choose by the same questions."""
    validation = divided.asked["validation"]
    histories, questions = questions_of(
        list(divided.asked["train"].histories), Questions(validation.histories, validation.targets), seed
    )
    material = Material(
        items=len(divided.items), histories=histories, counts=divided.counts, texts=divided.texts,
        questions=questions, length=LENGTH, seed=seed, threads=cpu_limit(),
    )  # fmt: skip

    def figures(ranks: Ranks, seconds: float) -> Figures:
        values = by_user(test.targets, ranks(test))
        return {name: float(one.mean()) for name, one in values.items()} | {"seconds": seconds}

    for name, fits in _of_implicit(implicit, material, seed).items():
        start = time.perf_counter()
        ranks = max(fits, key=lambda fit: _ndcg(questions, fit))
        yield name, figures(ranks, time.perf_counter() - start)
    clock: dict[str, list[float]] = {}
    start = time.perf_counter()
    choice: Choice = train(AUTO, material, lambda kind, share: clock.setdefault(kind, []).append(time.perf_counter()))
    whole = time.perf_counter() - start
    begun = [times[0] for times in clock.values()] + [start + whole]
    took = dict(zip(clock, np.diff(begun), strict=True))
    for one in choice.candidates:
        yield (
            f"builtin:{one.kind}",
            figures(lambda asked, one=one: ranked(asked.histories, one.trained.model), took[one.kind]),
        )
    best = choice.best.trained.model
    yield "builtin:auto", figures(lambda asked: ranked(asked.histories, best), whole) | {f"chose {choice.best.kind}": 1}


def _ndcg(questions: Questions, ranks: Ranks) -> float:
    return float(by_user(questions.targets, ranks(questions))["ndcgAt10"].mean())


def _of_implicit(implicit: Any, material: Material, seed: int) -> dict[str, Iterator[Ranks]]:
    """Name -> its fitted models, of which the best on the questions counts."""
    taken = material.matrix()

    def fitted(model: Any, **more: Any) -> Ranks:
        model.fit(taken, show_progress=False)

        def ranks(asked: Questions) -> NDArray[np.int64]:
            known = as_matrix(asked.histories, material.items)
            found = model.recommend(np.arange(len(asked)), known, N=PLACES, filter_already_liked_items=True, **more)
            return np.asarray(found[0], np.int64)

        return ranks

    neighbours = implicit.nearest_neighbours
    als = implicit.als.AlternatingLeastSquares
    return {
        "implicit item-kNN (cosine)": (fitted(neighbours.CosineRecommender(K=count)) for count in NEIGHBOURS),
        "implicit item-kNN (BM25)": (fitted(neighbours.BM25Recommender(K=count)) for count in NEIGHBOURS),
        "implicit item-kNN (BM25), defaults": (fitted(neighbours.BM25Recommender()) for _ in range(1)),
        "implicit ALS": (
            fitted(als(factors=factors, random_state=seed, use_gpu=False), recalculate_user=True) for factors in FACTORS
        ),
        "implicit ALS, defaults": (
            fitted(als(random_state=seed, use_gpu=False), recalculate_user=True) for _ in range(1)
        ),
    }


def _peers(cache: Path) -> Any:
    """The library, installed by hash into a folder of its own."""
    folder = cache / "peers"
    if not (folder / "implicit").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--require-hashes", "--target", str(folder), "--requirement", str(HERE / "peers.lock")]
        subprocess.run(command, check=True)
    sys.path.append(str(folder))
    import implicit.als
    import implicit.nearest_neighbours

    return implicit


def _print(by: str, divided: Divided, users: int, runs: list[dict[str, Figures]]) -> None:
    counts = ", ".join(f"{count:,} {name}" for name, count in divided.interactions.items())
    print(f"\nsplit by {by}: {counts}; {users:,} users asked; {len(runs)} seeds")
    print("| model | " + " | ".join(metric.title for metric in RANKING) + " | seconds |")
    print("| --- |" + " --- |" * (len(RANKING) + 1))
    for name in runs[0]:
        cells = []
        for metric in RANKING:
            values = [run[name][metric.name] for run in runs]
            cells.append(f"{np.mean(values):.4f} ± {np.std(values):.4f}")
        chosen = ", ".join(key for run in runs for key in run[name] if key.startswith("chose"))
        seconds = np.mean([run[name]["seconds"] for run in runs])
        print(f"| {name} | " + " | ".join(cells) + f" | {seconds:.1f} |" + (f" {chosen}" if chosen else ""), flush=True)


main()
