"""The judge: loads what each contender left, times all in turns in one process, asks each the whole test split.

    python -m judge CASE OUT.json ROUNDS NAME=FOLDER …

It knows the contract and nothing of who made what. Times are of the model alone, batch 1, on inputs that are tokenized
already. Runs in an environment of its own that can load all three runtimes.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from contract import OWN_TEST_FILE, Case, Feed, Made, Rows, read_case, read_result, read_rows
from figures import BASELINE, REFERENCE, Found
from numpy.typing import NDArray
from peers.sessions import classes_of, session
from scores import quality, speedup

WARM_UP_ROUNDS = 20

Predict = Callable[[Feed], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Entrant:
    """One model, ready to be asked."""

    predict: Predict
    test: Rows
    fixed_length: bool
    size_bytes: int


def main() -> None:
    """Writes OUT.json: `found` (name -> Found, the baseline and the reference included) and `failed` (name -> why)."""
    case, out, rounds = read_case(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
    folders = dict(pair.split("=", 1) for pair in sys.argv[4:])
    entrants = {
        BASELINE: _entrant(case, case.folder, Made("as trained")),
        REFERENCE: _entrant(case, case.folder, Made("as trained", runtime="openvino")),
    }
    failed = {}
    for name, folder in folders.items():
        made = read_result(Path(folder)).made
        assert made is not None, f"{name} has made nothing to judge"
        try:
            entrant = _entrant(case, Path(folder), made)
            entrant.predict(entrant.test.feed(0, fixed_length=entrant.fixed_length))
        except Exception as error:
            # A model that does not run is a finding about its maker, and no reason to lose the others.
            traceback.print_exc()
            failed[name] = f"what it made does not run: {type(error).__name__}: {str(error)[:200]}"
        else:
            entrants[name] = entrant
    times = take_turns(entrants, rounds)
    found = {name: asdict(_found(case, one, times[BASELINE], times[name])) for name, one in entrants.items()}
    out.write_text(json.dumps({"found": found, "failed": failed}, indent=1), encoding="utf-8")


def take_turns(entrants: Mapping[str, Entrant], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round of each entrant: every round asks all of them the same row, in an order that turns."""
    names = list(entrants)
    times: dict[str, list[float]] = {name: [] for name in names}
    count = len(next(iter(entrants.values())).test)
    # A collection in the middle of one prediction would be charged to whichever model happened to run.
    gc.disable()
    for number in range(WARM_UP_ROUNDS + rounds):
        row = number * count // (WARM_UP_ROUNDS + rounds)
        for place in range(len(names)):
            name = names[(place + number) % len(names)]
            entrant = entrants[name]
            feed = entrant.test.feed(row, fixed_length=entrant.fixed_length)
            start = time.perf_counter()
            entrant.predict(feed)
            if number >= WARM_UP_ROUNDS:
                times[name].append((time.perf_counter() - start) * 1000)
    gc.enable()
    return times


def _found(case: Case, entrant: Entrant, baseline_ms: list[float], own_ms: list[float]) -> Found:
    predicted = classes_of(entrant.predict, entrant.test, fixed_length=entrant.fixed_length)
    reached = quality(entrant.test.labels, predicted, len(case.labels))
    faster = speedup(baseline_ms, own_ms)
    return Found(
        entrant.size_bytes,
        float(np.median(own_ms)),
        faster.value,
        faster.low,
        faster.high,
        reached.accuracy,
        reached.macro_f1,
    )


def _entrant(case: Case, folder: Path, made: Made) -> Entrant:
    predict = _LOADERS[made.runtime](folder / made.model, case.threads)
    return Entrant(predict, split_of(case, folder), made.fixed_length, size_bytes(case, folder, made))


def split_of(case: Case, folder: Path) -> Rows:
    """The test split as the model in `folder` reads it: one with a tokenizer of its own brings it along.

    Raises:
        ValueError: what it brings are other rows.
    """
    test, own = case.rows("test"), folder / OWN_TEST_FILE
    if not own.exists():
        return test
    brought = read_rows(own)
    if not np.array_equal(brought.labels, test.labels):
        raise ValueError(f"{own} does not hold the test split's rows in their order")
    return brought


def size_bytes(case: Case, folder: Path, made: Made) -> int:
    """Bytes of all files that serving needs."""
    shared = 0 if made.complete else sum((case.folder / name).stat().st_size for name in case.served_with)
    return shared + sum((folder / name).stat().st_size for name in made.files)


def _onnxruntime(model: Path, threads: int) -> Predict:
    running = session(model, threads)
    return lambda feed: running.run(None, feed)[0]  # type: ignore[no-any-return]


def _openvino(model: Path, threads: int) -> Predict:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(model), "CPU", settings)
    asked, output = compiled.create_infer_request(), compiled.outputs[0]
    return lambda feed: asked.infer(feed)[output]  # type: ignore[no-any-return]


def _torch(model: Path, threads: int) -> Predict:
    import torch
    import torch._inductor.config as inductor

    # Registers the operators of the exported program, and the kernels that they are compiled to.
    importlib.import_module("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    torch.set_num_threads(threads)
    inductor.freezing = True
    compiled = torch.compile(torch.export.load(model).module())

    def predict(feed: Feed) -> NDArray[np.float32]:
        with torch.no_grad():
            scores: torch.Tensor = compiled(*(torch.from_numpy(values) for values in feed.values()))
        return scores.numpy()

    return predict


_LOADERS: dict[str, Callable[[Path, int], Predict]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "torch": _torch,
}


if __name__ == "__main__":
    main()
