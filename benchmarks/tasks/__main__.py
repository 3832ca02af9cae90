"""Models of tables beside LightGBM and scikit-learn with their defaults, on the same splits, in one run.

    python benchmarks/tasks [--seeds 3] [--only credit] [--cache FOLDER]

See README.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# PyTorch first: LightGBM finds its OpenMP runtime then, where the system has none.
from kaon_jobs.learn.tables.training import AUTO, Given, train

# isort: split
import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tables import Table, tables

from kaon.tasks.metrics import ACCURACY, AUC, LOG_LOSS, MAE, R2, RMSE
from kaon_jobs.learn.tables.columns import Layout, columns_of
from kaon_jobs.machine import cpu_limit
from kaon_jobs.measure.quality import quality
from kaon_jobs.measure.regression import number_quality
from kaon_jobs.runtime.graph import softmax
from kaon_jobs.runtime.table import TableReader

TEST, VALIDATION = 0.2, 0.1
CLASS_METRICS, NUMBER_METRICS = (LOG_LOSS, ACCURACY, AUC), (RMSE, MAE, R2)

Answers = NDArray[Any]
Figures = dict[str, float]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", help="names of tables")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "kaon" / "tables")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    for name, read in tables(args.cache).items():
        if args.only and name not in args.only:
            continue
        table = read()
        runs = [_contest(table, seed) for seed in range(args.seeds)]
        _print(table, runs)


def _contest(table: Table, seed: int) -> dict[str, Figures]:
    """Model -> its figures on the test rows of one split."""
    strata = table.targets if table.labels else None
    learnt, test = train_test_split(np.arange(len(table.rows)), test_size=TEST, random_state=seed, stratify=strata)
    own = table.targets[learnt] if table.labels else None
    training, validation = train_test_split(learnt, test_size=VALIDATION, random_state=seed, stratify=own)
    columns = columns_of(table.features, [table.rows[row] for row in training])
    layout = Layout.of(columns)
    numbers = TableReader([column.wire() for column in columns]).numbers(table.rows)

    found: dict[str, Figures] = {}

    def note(name: str, seconds: float, answers: Answers) -> None:
        true = table.targets[test]
        if table.labels:
            made = quality(true, answers.astype(np.float32), table.labels, CLASS_METRICS).metrics
        else:
            made = number_quality(true, answers).metrics
        found[name] = {key: figure.value for key, figure in made.items()} | {"seconds": seconds}

    # What has no use for a validation split learns from its rows too, as anybody would do.
    for name, peer in _peers(layout, bool(table.labels), seed).items():
        start = time.perf_counter()
        peer.fit(numbers[learnt], table.targets[learnt])
        seconds = time.perf_counter() - start
        note(name, seconds, peer.predict_proba(numbers[test]) if table.labels else peer.predict(numbers[test]))

    start = time.perf_counter()
    made = train(
        AUTO,
        layout,
        Given(numbers[training], table.targets[training]),
        Given(numbers[validation], table.targets[validation]),
        len(table.labels),
        balanced=False,
        seed=seed,
        threads=cpu_limit(),
        progress=_Clock(times := {}),
    )
    whole = time.perf_counter() - start
    finish: Callable[[Answers], Answers] = (lambda logits: softmax(logits)) if table.labels else (lambda said: said)
    for candidate in made.candidates:
        note(
            f"builtin:{candidate.kind}",
            times.get(candidate.kind, whole),
            finish(made.answers_of(candidate, numbers[test])),
        )
    note("builtin:auto", whole, finish(made.answers(numbers[test])))
    found["builtin:auto"] |= {f"chose {made.kind}": 1.0}
    return found


class _Clock:
    """Seconds that each kind of model took, by when it was heard of first and last."""

    def __init__(self, times: dict[str, float]) -> None:
        self._times, self._begun = times, dict[str, float]()

    def __call__(self, kind: str, share: float) -> None:
        now = time.perf_counter()
        self._times[kind] = now - self._begun.setdefault(kind, now)


def _peers(layout: Layout, classes: bool, seed: int) -> dict[str, Any]:
    places = [place for place, _ in layout.categories]
    prepared = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), list(layout.numbers)),
        (OneHotEncoder(handle_unknown="ignore"), places),
    )
    boosting: Any = lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor
    linear: Any = LogisticRegression(max_iter=2000) if classes else Ridge()
    return {
        "LightGBM, defaults": _Boosting(boosting(random_state=seed, n_jobs=cpu_limit(), verbosity=-1), places),
        f"scikit-learn {type(linear).__name__}, defaults": make_pipeline(prepared, linear),
    }


class _Boosting:
    """LightGBM, told which columns are categories."""

    def __init__(self, model: Any, places: list[int]) -> None:
        self._model, self._places = model, places

    def fit(self, numbers: Answers, targets: Answers) -> None:
        self._model.fit(numbers, targets, categorical_feature=self._places)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _print(table: Table, runs: list[dict[str, Figures]]) -> None:
    metrics = CLASS_METRICS if table.labels else NUMBER_METRICS
    print(f"\n{table.name}: {len(table.rows):,} rows, {len(table.features)} columns, {len(runs)} splits")
    print("| model | " + " | ".join(metric.title for metric in metrics) + " | seconds |")
    print("| --- |" + " --- |" * (len(metrics) + 1))
    for name in runs[0]:
        cells = []
        for metric in metrics:
            values = [run[name][metric.name] for run in runs]
            cells.append(f"{np.mean(values):.4g} ± {np.std(values):.2g}")
        chosen = ", ".join(key for run in runs for key in run[name] if key.startswith("chose"))
        seconds = np.mean([run[name]["seconds"] for run in runs])
        print(f"| {name} | " + " | ".join(cells) + f" | {seconds:.1f} |" + (f" {chosen}" if chosen else ""), flush=True)


main()
