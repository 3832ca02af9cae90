"""builtin:linear: what is served is what was trained, and it learns what a linear model can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfTransformer

from kaon.api.report import Result
from kaon.contract.jobspec import TrainWork
from kaon.contract.manifest import Manifest
from kaon_jobs.context import Context
from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.calibration import ABSENT, sharpness
from kaon_jobs.learn.linear import (
    fit,
    graph_of,
    make_tokenizer,
    most_telling,
    weighted,
    with_words,
    word_counts,
)
from kaon_jobs.predict.opening import open_model
from kaon_jobs.programs import compress
from kaon_jobs.programs import train as stage
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.tasks.text_classification import linear_model

TEXTS = ["Good, good film!", "bad film", "a GOOD plot", "very bad; bad, bad plot", "", "???"]


def work_of(shop: Any, dataset: Result, **recipe: Any) -> dict[str, Any]:
    work: dict[str, Any] = shop.train_work(dataset)
    return {**work, "model": {"base": "builtin:linear"}, "recipe": {"maxSequenceLength": 64, **recipe}}


def run(shop: Any, work: dict[str, Any], workdir: Path) -> Result:
    workdir.mkdir(parents=True)
    job = shop.job("trainingruns", work, token=str(workdir))
    return stage.run(job, TrainWork.model_validate(work), Context(Reporter(None, None), workdir, workdir.name))


@pytest.fixture(scope="module")
def made(shop: Any, dataset: Result, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """The stage's result, and where it worked."""
    workdir = tmp_path_factory.mktemp("linear") / "attempt-1"
    return run(shop, work_of(shop, dataset), workdir), workdir


class TestTheStage:
    def test_it_is_evaluated_beside_the_baseline_as_every_model(self, made: tuple[Result, Path]) -> None:
        result, _ = made
        assert result.training is not None
        found = result.training.evaluation
        assert found.value("accuracy") is not None and found.baseline is not None
        assert found.value("accuracy") > 0.9  # type: ignore[operator]

    def test_its_artifact_is_served_like_an_encoder_and_is_small(self, made: tuple[Result, Path]) -> None:
        result, workdir = made
        assert result.artifact is not None
        folder = Path(result.artifact.uri.removeprefix("file:///mnt"))
        manifest = Manifest.model_validate_json((folder / "kaon.json").read_bytes())
        assert manifest.model is not None and manifest.content == {}
        assert manifest.model.base_model == "builtin:linear"
        assert manifest.model.serving_files == ["model.onnx", "tokenizer.json", "card.json"]
        model = open_model(workdir / "model", 1)
        for golden in manifest.model.golden:
            (answer,) = model.answers([golden.text])
            assert answer == pytest.approx(golden.answer, abs=1e-5)
        assert {"", max((golden.text or "" for golden in manifest.model.golden), key=len)} <= {
            golden.text for golden in manifest.model.golden
        }

    def test_the_report_names_the_model(self, made: tuple[Result, Path]) -> None:
        _, workdir = made
        page = (workdir / "model/report.html").read_text()
        assert "builtin:linear" in page and "scores within" in page

    def test_an_export_that_answers_otherwise_is_refused(
        self, shop: Any, dataset: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(linear_model, "graph_of", lambda model: graph_of(model.times(1.1)))
        with pytest.raises(StageFailure, match="scores differ") as caught:
            run(shop, work_of(shop, dataset), tmp_path / "one")
        assert caught.value.reason == "ParityFailed"


def test_words_are_counted_without_case_and_punctuation_up_to_the_length() -> None:
    tokenizer = make_tokenizer(TEXTS, 3)
    counts = word_counts(tokenizer, ["good GOOD, (good) film", "bad unseen bad bad"])
    words = tokenizer.get_vocab()
    assert counts[0, words["good"]] == 3 and counts[0].sum() == 3
    assert counts[1, words["bad"]] == 2 and counts[1, words["[UNK]"]] == 1
    assert not {",", "!", ";"} & words.keys()


def test_scripts_without_spaces_have_words_of_several_characters() -> None:
    texts = ["这部电影非常好看", "这部电影不好看", "非常糟糕的电影", "电影很好看"] * 5
    tokenizer = make_tokenizer(texts, 64)
    assert any(len(word) > 1 and word.startswith("电影") for word in tokenizer.get_vocab())
    assert "[UNK]" not in tokenizer.encode(texts[0]).tokens


def test_weights_are_those_of_scikit_learn() -> None:
    counts = csr_matrix(np.asarray([[0, 0, 2, 1, 0], [0, 0, 1, 0, 5], [0, 0, 1, 1, 1]], np.float32))
    theirs = TfidfTransformer(sublinear_tf=True).fit(counts)
    model = fit(counts, np.asarray([0, 1, 0]), 2, balanced=False, seed=0)
    assert model.idf[2:] == pytest.approx(theirs.idf_[2:], rel=1e-6)
    assert weighted(counts, model.idf).toarray() == pytest.approx(theirs.transform(counts).toarray(), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [([0, 1, 0, 1, 0, 1], 2), ([0, 2, 0, 2, 0, 2], 4), ([0, 1, 2, 1, 2, 0], 3), ([1] * 6, 3)],
)
def test_the_graph_gives_the_models_scores(labels: list[int], classes: int, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    tokenizer = make_tokenizer(TEXTS, 16)
    counts = word_counts(tokenizer, TEXTS)
    model = fit(counts, np.asarray(labels), classes, balanced=True, seed=0).times(2.5)
    onnx.save(graph_of(model), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    encodings = tokenizer.encode_batch([*TEXTS[:4], "unseen words good good"])
    feed = {
        "input_ids": np.asarray([encoding.ids for encoding in encodings], np.int64),
        "attention_mask": np.asarray([encoding.attention_mask for encoding in encodings], np.int64),
    }
    (served,) = session.run(None, feed)
    asked = word_counts(tokenizer, [*TEXTS[:4], "unseen words good good"])
    assert served == pytest.approx(model.scores(asked), abs=1e-4)
    absent = sorted(set(range(classes)) - set(labels))
    assert (model.bias[absent] == ABSENT).all() and set(served.argmax(axis=1)) <= set(labels)


def test_probabilities_are_as_sure_as_the_rows_say() -> None:
    scores = np.asarray([[1, -1], [1, -1], [1, -1], [-1, 1]], np.float32)
    unsure, sure = np.asarray([0, 0, 1, 1]), np.asarray([0, 0, 0, 1])
    assert sharpness(scores, unsure) == pytest.approx(np.log(3) / 2, rel=1e-2)  # three of four are right
    assert sharpness(scores, sure) > 5


def test_balanced_classes_count_alike() -> None:
    texts = [*["word"] * 5, *["other"] * 6]
    labels = np.asarray([1, 1, 0, 0, 0, *[0] * 6])
    counts = word_counts(make_tokenizer(texts, 8), texts)
    plain = fit(counts, labels, 2, balanced=False, seed=0).scores(counts)
    balanced = fit(counts, labels, 2, balanced=True, seed=0).scores(counts)
    assert plain[0].argmax() == 0 and balanced[0].argmax() == 1


def test_the_card_is_json_that_a_server_reads(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(TEXTS, 16)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    told = json.loads((tmp_path / "tokenizer.json").read_text())
    assert told["truncation"]["max_length"] == 16 and told["padding"]["pad_token"] == "[PAD]"


def test_the_words_that_tell_most_are_kept_and_the_others_are_unknown() -> None:
    texts = [f"{word} filler the" for word in ["good", "bad"] * 10]
    tokenizer = make_tokenizer(texts, 16)
    counts = word_counts(tokenizer, texts)
    model = fit(counts, np.asarray([1, 0] * 10), 2, balanced=False, seed=0)
    fewer = with_words(tokenizer, most_telling(model, counts, 2))
    assert fewer.get_vocab().keys() == {"[PAD]", "[UNK]", "good", "bad"}
    assert fewer.encode("the good filler").tokens == ["[UNK]", "good", "[UNK]"]
    assert fewer.truncation == tokenizer.truncation and fewer.padding == tokenizer.padding


def test_a_compression_judges_it_as_every_model(
    shop: Any, made: tuple[Result, Path], dataset: Result, tmp_path: Path
) -> None:
    result, _ = made
    assert result.artifact is not None and dataset.artifact is not None
    work = {
        "stage": "compress",
        "task": "text-classification",
        "model": {"uri": result.artifact.uri, "digest": result.artifact.digest},
        "dataset": {"uri": dataset.artifact.uri, "digest": dataset.artifact.digest},
        "budget": {"maxDrop": {"accuracy": 0.05}},
        "objective": "size",
        "strategy": "auto",
        "steps": None,
        "search": {},
        "target": {"threads": 1},
    }
    job = shop.job("compressionjobs", work, token=str(tmp_path))
    found = compress.run(job, job.work, Context(Reporter(None, None), tmp_path, tmp_path.name)).compression
    # A few words are no bytes to save: what is left are quantizations, and they say so.
    assert found is not None and found.verdict == "Infeasible"
    assert {item.name for item in found.candidates} >= {"int8-dynamic", "int8-static"}
    assert all("not smaller than the baseline" in item.violations[0] for item in found.candidates)
