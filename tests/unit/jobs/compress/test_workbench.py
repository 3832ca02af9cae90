"""The workbench on a real, tiny encoder: what was made once is not made again, in this process or in a later one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaon.api.compressionjob import Step
from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact
from kaon_jobs.compress.search.moves import DYNAMIC, FUSION, Pipeline
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.compress.trials import workbench
from kaon_jobs.compress.trials.kept import TrialStore
from kaon_jobs.compress.trials.workbench import Question, Workbench
from kaon_jobs.data.splits import fetch_dataset, read_split
from kaon_jobs.predict.onnx_model import MODEL_FILE
from kaon_jobs.predict.onnx_text import OnnxTextModel
from kaon_jobs.store.artifact import fetch
from kaon_jobs.store.objectstore import open_store

STUDENT = (Step.model_validate({"distill": {"keepLayers": [0], "epochs": 1, "views": 1}}),)
FP16 = Step.model_validate({"quantize": {"scheme": "fp16"}})


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of steps that were really done."""
    done: list[str] = []
    real = workbench.technique_of

    def counted(step: Step, kind: Any) -> Any:
        done.append(step.kind)
        return real(step, kind)

    monkeypatch.setattr(workbench, "technique_of", counted)
    return done


@pytest.fixture
def bench(trained: Result, dataset: Result, tmp_path: Path, applied: list[str]) -> Callable[[str], Workbench]:
    """Workbenches of attempts that share a store and nothing else."""
    assert trained.artifact is not None and dataset.artifact is not None
    source, data = tmp_path / "source", tmp_path / "data"
    fetch(InputArtifact(uri=trained.artifact.uri, digest=trained.artifact.digest), source, kinds={"model"})
    fetch_dataset(InputArtifact(uri=dataset.artifact.uri, digest=dataset.artifact.digest), data)
    rows, validation = read_split(data, "train"), read_split(data, "validation")

    def made(attempt: str) -> Workbench:
        said = OnnxTextModel(source, 1).answers(validation.inputs)
        asked = Question(validation.inputs, validation.targets, said)
        trials = TrialStore(open_store(f"file:///mnt{tmp_path}/store/compressionjobs", None), {"seed": 0})
        lessons = Lessons(rows, 0, source, threads=1, shelf=trials)
        return Workbench(source, tmp_path / attempt, asked, lessons, trials, threads=1, seed=0, measure_memory=False)

    return made


def test_a_student_is_trained_once_and_quantized_in_several_ways_by_several_attempts(
    bench: Callable[[str], Workbench], applied: list[str]
) -> None:
    first = bench("first")
    first.run(Pipeline((*STUDENT, FUSION, DYNAMIC)))
    first.run(Pipeline((*STUDENT, FUSION, FP16)))
    assert applied.count("distill") == 1
    second = bench("second")
    second.run(Pipeline((*STUDENT, DYNAMIC)))
    assert applied.count("distill") == 1


def test_a_finished_trials_model_comes_from_the_store_with_its_own_tokenizer(
    bench: Callable[[str], Workbench], applied: list[str]
) -> None:
    pipeline = Pipeline((Step.model_validate({"vocabulary": {"maxTokens": 15}}), DYNAMIC))
    record, _ = bench("first").run(pipeline)
    applied.clear()
    later = bench("second")
    found = later.find(pipeline)
    assert found is not None and found.files == record.files | found.files
    directory = later.model(found)
    assert applied == []
    again = OnnxTextModel(directory, 1).answers(["wing nest egg"])
    assert again.shape == (1, 3)
    assert OnnxTextModel(directory, 1).tokenizer.get_vocab_size() < later.baseline.tokenizer.get_vocab_size()


def test_a_probe_trains_nothing_and_is_made_once(bench: Callable[[str], Workbench], applied: list[str]) -> None:
    pipeline = Pipeline((Step.model_validate({"prune": {"method": "layers", "keepLayers": [0]}}), FUSION, DYNAMIC))
    found = bench("first").probe(pipeline)
    assert found is not None and found[0] > 0 and len(found[1].candidate_ms) >= 30
    applied.clear()
    assert bench("second").probe(pipeline) == found
    assert applied == []


def test_what_was_exported_on_the_way_does_not_pile_up(bench: Callable[[str], Workbench], tmp_path: Path) -> None:
    one = bench("first")
    one.run(Pipeline((*STUDENT, FUSION, DYNAMIC)))
    assert len(list((tmp_path / "first").rglob(MODEL_FILE))) == 1
