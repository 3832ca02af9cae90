"""The V2 inference protocol (Open Inference Protocol) as JSON, for a server that does not speak it itself.

Pure: bytes and dicts in and out, standard library only. Answers look like Triton's: a client sees no difference.
"""

import json
from dataclasses import dataclass
from typing import Any

OUTPUTS = ("label", "probabilities")


class Refusal(Exception):
    """The request is wrong; the message says how. Answered with status 400."""


@dataclass(frozen=True)
class Inference:
    """One request: its texts, its id if the client gave one, and the outputs it asks for."""

    texts: list[str]
    request_id: str | None
    outputs: tuple[str, ...]


def parse(body: Any, max_batch_size: int) -> Inference:
    """Read a request body (bytes, str or an object already decoded).

    Raises:
        Refusal: the body is no V2 request for one input `text` of datatype BYTES and shape [n, 1].
    """
    request = _decoded(body)
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal("expected exactly one input, named 'text'")
    tensor = inputs[0]
    if tensor.get("name") != "text":
        raise Refusal(f"unexpected inference input '{tensor.get('name')}', expected 'text'")
    if tensor.get("datatype") != "BYTES":
        raise Refusal(f"input 'text' has datatype {tensor.get('datatype')}, expected BYTES")
    texts = _flat(tensor.get("data"))
    shape = tensor.get("shape")
    if shape != [len(texts), 1]:
        raise Refusal(f"input 'text' has shape {shape} and {len(texts)} values, expected shape [{len(texts)},1]")
    if not 1 <= len(texts) <= max_batch_size:
        raise Refusal(f"the request has {len(texts)} texts, expected 1 to {max_batch_size}")
    return Inference(texts, _request_id(request), _outputs(request))


def answer(model: str, inference: Inference, labels: list[str], probabilities: list[list[float]]) -> dict[str, Any]:
    """The response body to `inference`."""
    count = len(inference.texts)
    tensors = {
        "label": {"name": "label", "datatype": "BYTES", "shape": [count, 1], "data": labels},
        "probabilities": {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [count, len(probabilities[0])],
            "data": [value for row in probabilities for value in row],
        },
    }
    response: dict[str, Any] = {"model_name": model, "model_version": "1"}
    if inference.request_id is not None:
        response["id"] = inference.request_id
    return response | {"outputs": [tensors[name] for name in inference.outputs]}


def metadata(model: str, platform: str, classes: int) -> dict[str, Any]:
    """The model metadata that the protocol asks for; -1 is the batch."""
    return {
        "name": model,
        "versions": ["1"],
        "platform": platform,
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
        ],
    }


def _decoded(body: Any) -> dict[str, Any]:
    if isinstance(body, bytes | bytearray | str):
        try:
            body = json.loads(body)
        except ValueError as error:
            raise Refusal(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal("the body is not a JSON object")
    return body


def _flat(data: Any) -> list[str]:
    values = data if isinstance(data, list) else [data]
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    if not all(isinstance(item, str) for item in flat):
        raise Refusal("the data of input 'text' must be strings")
    return flat


def _request_id(request: dict[str, Any]) -> str | None:
    request_id = request.get("id")
    return None if request_id in (None, "") else str(request_id)


def _outputs(request: dict[str, Any]) -> tuple[str, ...]:
    asked = request.get("outputs")
    if not asked:
        return OUTPUTS
    names = (
        tuple(item.get("name") if isinstance(item, dict) else None for item in asked) if isinstance(asked, list) else ()
    )
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown or not names:
        raise Refusal(
            f"unexpected inference output '{unknown[0] if unknown else asked}', expected label or probabilities"
        )
    return names
