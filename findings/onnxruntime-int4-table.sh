#!/usr/bin/env bash
# onnxruntime: INT4 storage of an embedding table (Gather) raises the operator set of the whole graph to 21 and leaves
# every other node as it was; INT4 of a product (MatMul) in the same graph does not.
#
# Seen with onnxruntime 1.32.0 and onnx 1.23.2: a valid graph of operator set 17 with ReduceMean(axes=...) runs after
# INT4 of its product. After INT4 of its table it does not load: since set 18 ReduceMean takes axes as an input. A
# warning is logged, and no error is raised before the graph is loaded.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 onnx-ir==1.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

onnxruntime.disable_telemetry_events()
print(f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
draw = np.random.default_rng(0)


def weights(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(draw.standard_normal(shape).astype(np.float32), name)


def graph() -> onnx.ModelProto:
    made = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"], name="gather", axis=0),
            helper.make_node("MatMul", ["rows", "matrix"], ["product"], name="product"),
            helper.make_node("ReduceMean", ["product"], ["mean"], name="mean", axes=[-1], keepdims=1),
        ],
        "example",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["n", 1])],
        [weights("table", 64, 32), weights("matrix", 32, 32)],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def outcome(operator: str) -> tuple[int, str]:
    settings = DefaultWeightOnlyQuantConfig(
        block_size=32, is_symmetric=True, accuracy_level=4, op_types_to_quantize=(operator,), bits=4
    )
    quantizer = MatMulNBitsQuantizer(graph(), algo_config=settings)
    quantizer.process()
    model = quantizer.model.model
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:
        return opset, "Unrecognized attribute: axes" if "Unrecognized attribute: axes" in str(error) else str(error)
    session.run(None, {"ids": np.arange(2)})
    return opset, "runs"


product, table = outcome("MatMul"), outcome("Gather")
print(f"INT4 of the product: operator set {product[0]}, {product[1]}")
print(f"INT4 of the table: operator set {table[0]}, {table[1]}")
assert product == (17, "runs"), "behaviour has changed"
assert table == (21, "Unrecognized attribute: axes"), "behaviour has changed"
PYTHON
echo "as described"
