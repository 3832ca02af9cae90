"""Each technique on a real, tiny encoder: smaller where it should be, sound, and honest when it does not apply."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from kaon.api.compressionjob import Quantize, Step
from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact
from kaon_jobs.compress.families import graph
from kaon_jobs.compress.techniques.ort import needs_reduced_range
from kaon_jobs.compress.techniques.registry import technique_of
from kaon_jobs.compress.training.calibration import Calibration, batches
from kaon_jobs.compress.trials.sensitivity import scan
from kaon_jobs.compress.verdict.naming import step_name
from kaon_jobs.data.splits import fetch_dataset, read_split
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.predict.onnx_model import MODEL_FILE
from kaon_jobs.predict.onnx_text import OnnxTextModel

FUSION = Step(optimize="transformer-fusion")


def _int8(scheme: str = "int8-dynamic", **more: Any) -> Step:
    return Step(quantize=Quantize.model_validate({"scheme": scheme, **more}))


@pytest.fixture(scope="module")
def texts(dataset: Result, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    assert dataset.artifact is not None
    directory = tmp_path_factory.mktemp("data")
    fetch_dataset(InputArtifact(uri=dataset.artifact.uri, digest=dataset.artifact.digest), directory, ("train",))
    return read_split(directory, "train").inputs


@pytest.fixture
def make(source: Path, texts: list[str], tmp_path: Path) -> Callable[..., Path]:
    """Applies steps in their order and returns the directory of the last."""

    def apply(*steps: Step) -> Path:
        directory = source
        for index, step in enumerate(steps):
            target = tmp_path / str(index)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(MODEL_FILE))
            technique_of(step, "encoder").apply(directory, target, Calibration(texts, seed=0))
            directory = target
        return directory

    return apply


def _agreement(one: Path, other: Path, texts: list[str]) -> float:
    answers = [OnnxTextModel(path, 1).answers(texts, 1).argmax(axis=1) for path in (one, other)]
    return float(np.mean(answers[0] == answers[1]))


def _operators(directory: Path) -> set[str]:
    return {node.op_type for node in onnx.load(directory / MODEL_FILE).graph.node}


def _weight_bytes(directory: Path) -> int:
    return sum(len(tensor.raw_data) for tensor in onnx.load(directory / MODEL_FILE).graph.initializer)


def test_fusion_makes_single_operators_and_changes_no_answer(
    make: Callable[..., Path], source: Path, texts: list[str]
) -> None:
    fused = make(FUSION)
    assert {"Attention", "SkipLayerNormalization", "BiasGelu"} <= _operators(fused)
    difference = OnnxTextModel(fused, 1).answers(texts) - OnnxTextModel(source, 1).answers(texts)
    assert np.abs(difference).max() < 1e-5


def test_fusion_says_so_when_there_is_nothing_to_fuse(make: Callable[..., Path]) -> None:
    with pytest.raises(TechniqueFailed, match="nothing to fuse"):
        make(FUSION, FUSION)


@pytest.mark.parametrize(
    "steps",
    [
        (_int8(),),
        (FUSION, _int8()),
        (FUSION, _int8(perChannel=False)),
        (_int8("int8-static", calibrationSamples=32),),
        (FUSION, _int8("int8-static", calibrationSamples=32)),
        (_int8("int8-static", calibrationSamples=32, calibrationMethod="entropy"),),
        (FUSION, _int8("int8-static", calibrationSamples=32, calibrationMethod="percentile")),
    ],
    ids=lambda steps: "+".join(step_name(step) for step in steps),
)
def test_int8_stores_weights_and_embeddings_in_bytes_and_answers_alike(
    make: Callable[..., Path], source: Path, texts: list[str], steps: tuple[Step, ...]
) -> None:
    small = make(*steps)
    assert _weight_bytes(source) / _weight_bytes(small) > 2.5
    tables = {tensor.name: tensor for tensor in onnx.load(small / MODEL_FILE).graph.initializer}
    assert all(tensor.data_type != onnx.TensorProto.FLOAT for tensor in tables.values() if np.prod(tensor.dims) >= 1024)
    assert _agreement(source, small, texts) > 0.9


def test_static_quantization_quantizes_activations_of_a_fused_graph_too(make: Callable[..., Path]) -> None:
    found = _operators(make(FUSION, _int8("int8-static", calibrationSamples=32)))
    assert {"QuantizeLinear", "QAttention"} <= found


def test_int8_is_the_same_each_time(make: Callable[..., Path], source: Path, tmp_path: Path, texts: list[str]) -> None:
    one = make(_int8("int8-static", calibrationSamples=32))
    again = tmp_path / "again"
    shutil.copytree(source, again, ignore=shutil.ignore_patterns(MODEL_FILE))
    technique_of(_int8("int8-static", calibrationSamples=32), "encoder").apply(
        source, again, Calibration(texts, seed=0)
    )
    first, second = (OnnxTextModel(path, 1).answers(texts[:40], 1) for path in (one, again))
    assert np.array_equal(first, second)


def test_fp16_halves_the_weights_and_keeps_every_answer(
    make: Callable[..., Path], source: Path, texts: list[str]
) -> None:
    half = make(FUSION, _int8("fp16"))
    assert _weight_bytes(source) / _weight_bytes(half) > 1.6
    assert _agreement(source, half, texts) == 1.0


def test_an_excluded_node_keeps_its_precision(make: Callable[..., Path], source: Path) -> None:
    nodes = graph.weight_nodes(graph.load(source))
    name = next(node.name for node in nodes if node.op_type == "MatMul")
    kept = make(_int8(exclude=[name]))
    assert name in {node.name for node in onnx.load(kept / MODEL_FILE).graph.node if node.op_type == "MatMul"}
    assert name not in {
        node.name for node in onnx.load(make_plain(kept, source) / MODEL_FILE).graph.node if node.op_type == "MatMul"
    }


def make_plain(near: Path, source: Path) -> Path:
    target = near.parent / "plain"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(MODEL_FILE))
    technique_of(_int8(), "encoder").apply(source, target, Calibration(["x"], seed=0))
    return target


def test_a_part_of_a_layers_name_excludes_the_layer(source: Path) -> None:
    nodes = graph.weight_nodes(graph.load(source))
    excluded = graph.excluded(nodes, ["layer.1"])
    assert excluded and len(excluded) < len(nodes)
    assert all("layer.1" in " ".join(node.aliases) for node in nodes if node.name in excluded)


def test_a_name_that_excludes_nothing_is_an_error_with_the_names_there_are(make: Callable[..., Path]) -> None:
    with pytest.raises(TechniqueFailed, match=r"'layer\.77' names no node"):
        make(_int8(exclude=["layer.77"]))


def test_no_candidate_is_smaller_than_the_bound(make: Callable[..., Path], source: Path) -> None:
    assert graph.smallest_bytes(graph.load(source)) <= _weight_bytes(make(FUSION, _int8()))


def test_calibration_rows_are_a_seeded_draw_and_never_padded(source: Path, texts: list[str]) -> None:
    assert Calibration(texts, 5).draw(20) == Calibration(texts, 5).draw(40)[:20] != Calibration(texts, 6).draw(20)
    made = batches(source, texts[:50], ["input_ids", "attention_mask"])
    assert sum(len(batch["input_ids"]) for batch in made) == 50
    assert all(batch["attention_mask"].all() for batch in made)


def test_the_scan_ranks_groups_that_together_are_all_nodes(source: Path, texts: list[str], tmp_path: Path) -> None:
    found = scan(source, tmp_path, Calibration(texts, 0), 1, lambda done, total: None)
    names = [name for item in found for name in item.nodes]
    assert sorted(names) == sorted(node.name for node in graph.weight_nodes(graph.load(source)))
    assert [item.divergence for item in found] == sorted((item.divergence for item in found), reverse=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("sets", "reduced"), [("AVX2", True), ("AVX2 AVX512", True), ("AVX2 AVX_VNNI", False), ("NEON DOTPROD", False)]
)
def test_processors_whose_products_saturate_get_seven_bits(sets: str, reduced: bool) -> None:
    assert needs_reduced_range(sets) is reduced
