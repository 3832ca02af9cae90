"""Golden examples: inputs with the answers that a model gave when it was evaluated. Served answers must agree."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaon.contract.manifest import GoldenExample
from kaon_jobs.measure.agreement import ranking_difference
from kaon_jobs.predict.onnx_history import OnnxHistoryModel
from kaon_jobs.predict.onnx_model import Example, OnnxModel

AT_LEAST = 8
AT_MOST = 32
MAX_TEXT = 2000
"""Characters of a real text, or bytes of an image's file; a probe's request stays small."""
MAX_FILES = 1024**2
"""Bytes of all images: they lie in the manifest, which every stage reads."""


def golden_examples(
    model: OnnxModel, examples: Sequence[Any], targets: NDArray[Any], edges: Sequence[Example] = ()
) -> list[GoldenExample]:
    """Some examples, answered one by one, as a server is asked; then the edges. Deterministic.

    Of classes some of each in turn; of numbers such as lie at equal distances in the order of their targets. Fewer than
    eight only when there are fewer examples.

    Args:
        targets: class id or number of each example; of no use where items are ranked.
        edges: inputs that a served model must answer too, such as an empty text and one of full length.
    """
    if model.card.predicts == "items":
        chosen = examples[:: max(1, len(examples) // AT_LEAST)][:AT_LEAST]
    else:
        chosen = _of_each_class(examples, targets) if model.labels else _spread(examples, targets)
    return [recorded(model, example) for example in [*_bounded(model, chosen), *edges]]


def _bounded(model: OnnxModel, chosen: Sequence[Example]) -> Sequence[Example]:
    """Images as small files: larger ones are scaled to what the model reads. As many as have room, and at least one."""
    if not any(isinstance(example, bytes) for example in chosen):
        return chosen
    # It brings Pillow, which other models do not need.
    from kaon_jobs.predict.onnx_image import OnnxImageModel

    assert isinstance(model, OnnxImageModel)  # by its card
    small = [example if len(example) <= MAX_TEXT else model.reader.file(example) for example in chosen]  # type: ignore[arg-type]
    sizes = np.cumsum([len(example) for example in small])
    return small[: max(1, int((sizes <= MAX_FILES).sum()))]


def _of_each_class(examples: Sequence[Any], label_ids: NDArray[np.int64]) -> list[Example]:
    by_class: dict[int, list[Example]] = {}
    for example, label in sorted(zip(examples, label_ids, strict=True), key=lambda pair: _is_long(pair[0])):
        by_class.setdefault(int(label), []).append(example)
    wanted = min(max(AT_LEAST, len(by_class)), AT_MOST, len(examples))
    chosen: list[Example] = []
    turn = 0
    while len(chosen) < wanted:
        chosen.extend(members[turn] for _, members in sorted(by_class.items()) if turn < len(members))
        turn += 1
    return chosen[:wanted]


def _spread(examples: Sequence[Any], numbers: NDArray[np.floating[Any]]) -> list[Example]:
    order = np.argsort(numbers, kind="stable")
    wanted = min(AT_LEAST, len(examples))
    places = np.linspace(0, len(examples) - 1, wanted).round().astype(int)
    return [examples[row] for row in order[places]]


def recorded(model: OnnxModel, example: Example) -> GoldenExample:
    """An example with the model's answer."""
    (answer,) = model.answers([example])
    if isinstance(model, OnnxHistoryModel):
        found = model.reader.tensors(answer[None])
        scores = [float(f"{value:.9g}") for value in found["scores"][0]]
        return GoldenExample(**_given(example), answer=scores, items=found["items"][0].tolist())
    return GoldenExample(
        **_given(example),
        label=model.labels[int(answer.argmax())] if model.labels else None,
        # A number has any unit: its digits count, not its decimals.
        answer=[round(float(value), 6) if model.labels else float(f"{value:.9g}") for value in answer],
    )


def difference(model: OnnxModel, example: GoldenExample) -> float:
    """The largest difference of a figure of the model's answer from the recorded one; infinite when other items are
    ranked first."""
    found = recorded(model, input_of(example))
    if example.items is not None:
        tolerance = model.card.golden_tolerance
        return ranking_difference(found.items or [], found.answer, example.items, example.answer, tolerance)
    (answer,) = model.answers([input_of(example)])
    return float(np.abs(answer - np.asarray(example.answer)).max())


def _given(example: Example) -> dict[str, Any]:
    if isinstance(example, str):
        return {"text": example}
    if isinstance(example, bytes):
        return {"image": base64.b64encode(example).decode()}
    if isinstance(example, tuple):
        return {"row": [list(one) if isinstance(one, tuple) else one for one in example]}
    return {"values": example.tolist()}


def input_of(golden: GoldenExample) -> Example:
    """What the model was given."""
    if golden.text is not None:
        return golden.text
    if golden.image is not None:
        return base64.b64decode(golden.image)
    if golden.items is not None and golden.row is not None:
        history, user = golden.row
        return tuple(history) if isinstance(history, list) else (), user if isinstance(user, str) else None
    row = None if golden.row is None else tuple(one for one in golden.row if not isinstance(one, list))
    return row if row is not None else np.asarray(golden.values, dtype=np.float32)


def _is_long(example: Example) -> bool:
    return isinstance(example, str | bytes) and len(example) > MAX_TEXT
