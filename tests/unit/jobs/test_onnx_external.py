"""A model whose weights lie in a file of their own: read in its folder, and refused where it leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kaon_jobs.errors import StageFailure
from kaon_jobs.predict.onnx_external import check_external_data, locations

OUTSIDE = ["/etc/passwd", "../data", "inner/../../data", "..", "C:\\data", "\\\\host\\data", "..\\data", "", "a\0b"]


def external(location: str) -> TensorProto:
    """A tensor that lies at a path."""
    tensor = numpy_helper.from_array(np.zeros((2, 2), dtype=np.float32), "table")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def graph(*, initializers: list[TensorProto] = [], nodes: list[Any] = []) -> onnx.GraphProto:  # noqa: B006
    value = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])]
    return helper.make_graph(nodes, "g", value, value, initializers)


def as_initializer(tensor: TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(initializers=[tensor]))


def as_constant(tensor: TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(nodes=[helper.make_node("Constant", [], ["y"], value=tensor)]))


def in_a_branch(tensor: TensorProto) -> onnx.ModelProto:
    inner = graph(nodes=[helper.make_node("Constant", [], ["y"], value=tensor)])
    return helper.make_model(graph(nodes=[helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)]))


def in_a_function(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    function = helper.make_function("own", "f", [], ["y"], [node], [helper.make_opsetid("", 17)])
    return helper.make_model(graph(), functions=[function])


def as_sparse(tensor: TensorProto) -> onnx.ModelProto:
    model = helper.make_model(graph())
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(tensor)
    return model


def in_training(tensor: TensorProto) -> onnx.ModelProto:
    model = helper.make_model(graph())
    model.training_info.add().algorithm.initializer.append(tensor)
    return model


PLACES = [as_initializer, as_constant, in_a_branch, in_a_function, as_sparse, in_training]


def written(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("place", PLACES)
def test_a_path_that_leaves_the_folder_is_refused_wherever_it_stands(tmp_path: Path, place: Any) -> None:
    for number, location in enumerate(OUTSIDE):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(StageFailure) as caught:
            check_external_data(written(folder, place(external(location))))
        assert (caught.value.reason, caught.value.retriable) == ("ModelDataOutside", False)
        assert "Save the model with its weights in one file." in caught.value.message


@pytest.mark.parametrize("place", PLACES)
def test_a_file_inside_of_the_folder_is_read(tmp_path: Path, place: Any) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "data").write_bytes(bytes(16))
    path = written(tmp_path, place(external("weights/data")))
    check_external_data(path)
    assert locations(path) == {"weights/data"}


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data").write_bytes(bytes(16))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "link").symlink_to("../other/data")
    (tmp_path / "model" / "folder").symlink_to("../other")
    for location in ("link", "folder/data"):
        with pytest.raises(StageFailure, match="which is a link") as caught:
            check_external_data(written(tmp_path / "model", as_initializer(external(location))))
        assert caught.value.reason == "ModelDataOutside"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageFailure, match="reads its weights from 'gone', which is not there"):
        check_external_data(written(tmp_path, as_initializer(external("gone"))))


def test_a_model_of_one_file_reads_no_other(tmp_path: Path) -> None:
    table = numpy_helper.from_array(np.zeros((200, 200), dtype=np.float32), "table")
    # Bytes of weights that look like an entry are weights.
    table.raw_data = as_initializer(external("/etc/passwd")).SerializeToString().ljust(160_000, b"\0")
    path = written(tmp_path, as_initializer(table))
    check_external_data(path)
    assert locations(path) == set()


def test_what_is_no_message_is_refused_and_never_a_crash(tmp_path: Path) -> None:
    whole = in_a_branch(external("../data")).SerializeToString()
    path = tmp_path / "model.onnx"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        try:
            check_external_data(path)
        except StageFailure as failure:
            assert failure.reason in ("ModelUnreadable", "ModelDataOutside") and not failure.retriable
    path.write_bytes(b"\x3a\x02" * 1_000_000)
    with pytest.raises(StageFailure, match=r"model\.onnx is no whole ONNX file"):
        check_external_data(path)


def test_a_classifier_and_a_server_never_open_such_a_model(tmp_path: Path) -> None:
    from unit.jobs.serve import tiny

    from kaon_jobs.predict.onnx_text import OnnxTextModel

    tiny.write_model(tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.initializer[0].CopyFrom(external("../data"))
    model.graph.initializer[0].name = "table"
    card = tiny.card(tmp_path, golden=False)
    (tmp_path / "card.json").write_text(card.model_dump_json(by_alias=True))
    written(tmp_path, model)
    with pytest.raises(StageFailure) as caught:
        OnnxTextModel(tmp_path, threads=1)
    assert caught.value.reason == "ModelDataOutside"
