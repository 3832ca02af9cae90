"""A model of images of 4 x 4 grey pixels, linear over them, beside tiny.py."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from pictures import file_of, png
from PIL import Image

from kaon.api.signature import Signature, TensorSpec
from kaon.contract.manifest import GoldenExample, ImageForm, ModelCard
from kaon_jobs.runtime.graph import softmax
from kaon_jobs.runtime.image import ImageReader

CLASSES = ["dark", "bright", "striped"]
FORM = ImageForm(height=4, width=4, channels=1, resample="bilinear")
SIGNATURE = Signature(
    inputs=[TensorSpec(name="image", datatype="BYTES", shape=[-1, 1], content="image")],
    outputs=[
        TensorSpec(name="label", datatype="BYTES", shape=[-1, 1]),
        TensorSpec(name="probabilities", datatype="FP32", shape=[-1, len(CLASSES)]),
    ],
)
FILES = [
    png(size=(4, 4), colour=10),
    png(size=(40, 30), colour=250),
    png("RGBA", (4, 4), (255, 0, 0, 100)),
    file_of(Image.effect_noise((16, 16), 90).convert("RGB"), "JPEG"),
]


def write_model(folder: Path) -> None:
    """model.onnx: the pixels by weight."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 4, 4])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(CLASSES)])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, [numpy_helper.from_array(_weights(), "weights")])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )


def answers(files: list[bytes]) -> NDArray[np.float32]:
    """Probabilities, computed by numpy alone."""
    return softmax(ImageReader(FORM.wire()).numbers(files).reshape(len(files), -1) @ _weights())


def card(folder: Path, *, golden: bool = True) -> ModelCard:
    """The card of the model in `folder`."""
    found = [
        GoldenExample(
            image=base64.b64encode(data).decode(), label=CLASSES[int(answer.argmax())], answer=list(map(float, answer))
        )
        for data, answer in zip(FILES, answers(FILES), strict=True)
    ]
    return ModelCard(
        task="image",
        labels=CLASSES,
        image=FORM,
        signature=SIGNATURE,
        serving_files=["model.onnx"],
        golden=found if golden else [],
    )


def _weights() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(scale=0.01, size=(16, len(CLASSES))).astype(np.float32)
