"""Convolutional and plain networks: their graphs as torch sees them, channels that go, and what is learnt again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from kaon.api.compressionjob import Step
from kaon.contract.manifest import ModelCard, Signature, TensorSpec
from kaon_jobs.compress.families import channels, graph
from kaon_jobs.compress.families.network import Network
from kaon_jobs.compress.techniques.registry import technique_of
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.compress.training.views import mixed
from kaon_jobs.data.splits import Rows, read_split, write_arrays
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.measure.examples import packed, unpacked
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE
from kaon_jobs.predict.opening import open_model

Floats = Any


class Residual(nn.Module):
    """What real convolutional networks are made of, once each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU6(), nn.MaxPool2d(2))
        self.alone = nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.Hardswish())
        self.mixed = nn.Conv2d(32, 32, 1)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(32, 16, 1), nn.ReLU(), nn.Conv2d(16, 32, 1))
        self.wider = nn.Conv2d(32, 48, 3, 2, 1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(48 * 4, 24), nn.Tanh(), nn.Linear(24, 3))

    def forward(self, image: torch.Tensor) -> Any:
        seen = self.stem(image)
        seen = seen + self.mixed(self.alone(seen))
        seen = seen * torch.sigmoid(self.squeeze(seen))
        return self.head(self.wider(seen))


def _export(network: nn.Module, example: torch.Tensor, folder: Path) -> Path:
    # The tracing exporter, whose graphs the peers of the benchmark know too; it warns of its age.
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), pytest.warns(DeprecationWarning):
        torch.onnx.export(
            network.eval(),
            (example,),
            str(folder / MODEL_FILE),
            dynamo=False,
            opset_version=17,
            input_names=["values"],
            output_names=["logits"],
            dynamic_axes={"values": {0: "batch"}, "logits": {0: "batch"}},
        )
    return folder


@pytest.fixture
def residual(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    network = Residual()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = torch.rand(32)
            part.running_var = torch.rand(32) + 0.5
    return _export(network, torch.rand(2, 1, 16, 16), tmp_path / "residual")


def _answers(folder: Path, values: Floats) -> Floats:
    session = onnxruntime.InferenceSession(str(folder / MODEL_FILE))
    return session.run(None, {session.get_inputs()[0].name: values})[0]


def _card(folder: Path, shape: list[int], classes: int) -> None:
    card = ModelCard(
        task="image-classification",
        labels=[str(one) for one in range(classes)],
        signature=Signature(inputs=[TensorSpec(name="values", datatype="FP32", shape=[-1, *shape])], outputs=[]),
        serving_files=[MODEL_FILE],
    )
    (folder / CARD_FILE).write_text(card.model_dump_json(by_alias=True))


def test_torch_and_onnxruntime_get_the_same_answers_from_a_graph(residual: Path) -> None:
    values = np.random.default_rng(1).random((7, 1, 16, 16), dtype=np.float32)
    found = Network(graph.load(residual))(torch.from_numpy(values)).detach().numpy()
    assert np.abs(found - _answers(residual, values)).max() < 1e-5


def test_what_was_learnt_stands_in_the_graph(residual: Path) -> None:
    network = Network(graph.load(residual))
    with torch.no_grad():
        for weight in network.weights().values():
            weight += 0.01
    graph.save(network.graph(), residual)
    values = np.random.default_rng(1).random((3, 1, 16, 16), dtype=np.float32)
    assert np.abs(network(torch.from_numpy(values)).detach().numpy() - _answers(residual, values)).max() < 1e-5


def test_a_graph_that_torch_cannot_follow_is_refused_by_the_name_of_its_operators(source: Path) -> None:
    with pytest.raises(TechniqueFailed, match="has the operators And"):
        Network(graph.load(source))


def test_channels_that_a_residual_or_a_depthwise_layer_ties_together_are_one_group(residual: Path) -> None:
    model = graph.unshared(graph.load(residual))
    found = channels.groups(model)
    assert sorted(group.count for group in found) == [16, 24, 32, 48]
    tied = next(group for group in found if group.count == 32)
    assert len(tied.depthwise) == 1
    flattened = next(group for group in found if group.count == 48)
    assert 4 in {part.block for part in flattened.parts}, "each channel is four columns of the matrix behind Flatten"


def test_a_network_without_channels_that_do_nothing_answers_as_before(residual: Path) -> None:
    model = graph.unshared(graph.load(residual))
    groups = channels.groups(model)
    values = np.random.default_rng(1).random((5, 1, 16, 16), dtype=np.float32)
    kept = [(group, np.arange(0, group.count, 2)) for group in groups]
    silent = onnx.ModelProto()
    silent.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in silent.graph.initializer}
    for group, chosen in kept:
        gone = np.setdiff1d(np.arange(group.count), chosen)
        for part in group.parts:
            if part.makes:
                continue
            stored = np.array(onnx.numpy_helper.to_array(tensors[part.tensor]))
            places = (gone[:, None] * part.block + np.arange(part.block)).reshape(-1)
            stored[(slice(None),) * part.axis + (places,)] = 0
            tensors[part.tensor].CopyFrom(onnx.numpy_helper.from_array(stored, part.tensor))
    graph.save(silent, residual)
    expected = _answers(residual, values)
    # The gate of squeeze-and-excitation scales what the others keep: its own reading of silent channels is zeroed too.
    graph.save(channels.without(model, kept), residual)
    assert np.abs(_answers(residual, values) - expected).max() < 1e-4


def test_narrower_networks_cost_less_and_load(residual: Path) -> None:
    model = graph.unshared(graph.load(residual))
    work, weights = channels.costs(model)
    narrow = channels.narrowed(model, 0.5)
    assert channels.costs(narrow)[0] < 0.4 * work and channels.costs(narrow)[1] < 0.4 * weights
    graph.save(narrow, residual)
    assert _answers(residual, np.zeros((2, 1, 16, 16), dtype=np.float32)).shape == (2, 3)


def test_equal_tensors_that_an_exporter_stored_once_are_pruned_apart(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    for part in network:
        if isinstance(part, nn.Linear):
            nn.init.zeros_(part.bias)
    folder = _export(network, torch.rand(2, 8), tmp_path)
    model = graph.unshared(graph.load(folder))
    assert [group.count for group in channels.groups(model)] == [32, 32]
    graph.save(channels.narrowed(model, 0.5), folder)
    assert _answers(folder, np.zeros((1, 8), dtype=np.float32)).shape == (1, 2)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lessons, Rows]:
    """A small convolutional network that knows scikit-learn's digits (real, 8x8), what it learnt from, and the rest."""
    from sklearn.datasets import load_digits

    found = load_digits()
    values = (found.images[:, None] / 16).astype(np.float32)
    labels = found.target.astype(np.int64)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, 1, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    inputs, targets = torch.from_numpy(values[:1200]), torch.from_numpy(labels[:1200])
    for _ in range(20):
        for rows in torch.randperm(1200).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    folder = _export(network, inputs[:2], tmp_path_factory.mktemp("digits"))
    _card(folder, [1, 8, 8], 10)
    numbers = np.arange(len(labels))
    train = Rows(list(values[:1200]), labels[:1200], numbers[:1200])
    return folder, Lessons(train, 0, folder, threads=1), Rows(list(values[1200:]), labels[1200:], numbers[1200:])


def _apply(step: dict[str, Any], source: Path, target: Path, data: Lessons) -> Path:
    target.mkdir()
    (target / CARD_FILE).write_bytes((source / CARD_FILE).read_bytes())
    technique_of(Step.model_validate(step), "network").apply(source, target, data)
    return target


def _accuracy(folder: Path, rows: Rows) -> float:
    found = open_model(folder, 1).answers(rows.inputs).argmax(axis=1)
    return float(np.mean(found == rows.targets))


def test_a_pruned_network_learns_again_what_it_lost(digits: tuple[Path, Lessons, Rows], tmp_path: Path) -> None:
    source, data, rest = digits
    pruned = _apply({"prune": {"method": "channels", "ratio": 0.5}}, source, tmp_path / "pruned", data)
    taught = _apply({"distill": {"epochs": 20}}, pruned, tmp_path / "taught", data)
    before, lost, after = (_accuracy(folder, rest) for folder in (source, pruned, taught))
    assert before > 0.9
    assert lost < before - 0.1 and after > before - 0.03, (before, lost, after)
    assert (taught / MODEL_FILE).stat().st_size < 0.45 * (source / MODEL_FILE).stat().st_size


def test_the_channels_that_matter_stay(digits: tuple[Path, Lessons, Rows], tmp_path: Path) -> None:
    source, data, rest = digits
    chosen = _apply({"prune": {"method": "channels", "ratio": 0.25}}, source, tmp_path / "chosen", data)
    blind = tmp_path / "blind"
    blind.mkdir()
    (blind / CARD_FILE).write_bytes((source / CARD_FILE).read_bytes())
    graph.save(channels.narrowed(graph.unshared(graph.load(source)), 0.25), blind)
    assert _accuracy(chosen, rest) > _accuracy(blind, rest)


def test_two_runs_with_one_seed_give_the_same_weights(digits: tuple[Path, Lessons, Rows], tmp_path: Path) -> None:
    source, data, _ = digits
    made = [_apply({"distill": {"epochs": 1, "seed": 5}}, source, tmp_path / name, data) for name in ("one", "two")]
    assert (made[0] / MODEL_FILE).read_bytes() == (made[1] / MODEL_FILE).read_bytes()


@pytest.mark.parametrize("scheme", ["int8-static", "int8-dynamic"])
def test_a_network_in_eight_bits_is_smaller_and_answers_alike(
    digits: tuple[Path, Lessons, Rows], tmp_path: Path, scheme: str
) -> None:
    source, data, rest = digits
    made = _apply({"quantize": {"scheme": scheme}}, source, tmp_path / "int8", data)
    assert (made / MODEL_FILE).stat().st_size < 0.6 * (source / MODEL_FILE).stat().st_size
    assert abs(_accuracy(made, rest) - _accuracy(source, rest)) < 0.02


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"prune": {"method": "heads", "ratio": 0.5}}, "method: channels"),
        ({"vocabulary": {}}, "vocabulary is for text encoders"),
        ({"distill": {"keepLayers": [0]}}, "distill.keepLayers"),
        ({"distill": {"student": {"layers": 1}}}, "distill.student"),
        ({"finetune": {"quantizationAware": "int8"}}, "quantizationAware"),
        ({"prune": {"method": "channels", "ratio": 0.01}}, "leaves every layer as wide"),
    ],
)
def test_what_is_for_text_encoders_says_so(
    digits: tuple[Path, Lessons, Rows], tmp_path: Path, step: dict[str, Any], says: str
) -> None:
    source, data, _ = digits
    with pytest.raises(TechniqueFailed, match=says):
        _apply(step, source, tmp_path / "refused", data)


def test_a_quantized_network_cannot_be_trained_and_the_message_says_where_the_step_belongs(
    digits: tuple[Path, Lessons, Rows], tmp_path: Path
) -> None:
    source, data, _ = digits
    quantized = _apply({"quantize": {"scheme": "int8-static"}}, source, tmp_path / "int8", data)
    with pytest.raises(TechniqueFailed, match="before optimize and quantize"):
        _apply({"distill": {}}, quantized, tmp_path / "taught", data)


def test_views_of_arrays_mix_rows_and_are_the_same_each_time() -> None:
    values = np.random.default_rng(0).random((50, 1, 8, 8), dtype=np.float32)
    assert np.array_equal(mixed(values, 0, 7), values)
    one, other = mixed(values, 1, 7), mixed(values, 2, 7)
    assert np.array_equal(one, mixed(values, 1, 7)) and not np.array_equal(one, other)
    assert one.dtype == np.float32 and one.min() >= 0 and one.max() <= 1
    table = np.random.default_rng(0).random((50, 4), dtype=np.float32)
    assert mixed(table, 1, 7).shape == table.shape


def test_a_split_of_arrays_is_read_as_it_was_written(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((5, 1, 4, 3), dtype=np.float32)
    write_arrays(tmp_path, "test", values, np.arange(5), 100)
    rows = read_split(tmp_path, "test")
    assert np.array_equal(np.stack(rows.inputs), values)
    assert rows.targets.tolist() == [0, 1, 2, 3, 4] and rows.row_ids.tolist() == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("examples", [["a", "ü\nb", ""], [np.ones((2, 3), dtype=np.float32)] * 2])
def test_examples_reach_a_child_process_as_they_are(examples: list[Any]) -> None:
    found = unpacked(packed(examples))
    assert len(found) == len(examples)
    assert all(np.array_equal(one, other) for one, other in zip(found, examples, strict=True))
