"""Golden examples: inputs with the answers that a model gave when it was evaluated. Served answers must agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kaon.contract.manifest import GoldenExample
from kaon_jobs.predict.onnx_model import Example, OnnxModel

AT_LEAST = 8
AT_MOST = 32
MAX_TEXT = 2000
"""Characters of a real one; a probe's request stays small."""


def golden_examples(
    classifier: OnnxModel, examples: Sequence[Any], label_ids: Sequence[int], edges: Sequence[Example] = ()
) -> list[GoldenExample]:
    """Some examples of each class in turn, answered one by one, as a server is asked; then the edges. Deterministic.

    Fewer than eight only when there are fewer examples.

    Args:
        edges: inputs that a served model must answer too, such as an empty text and one of full length.
    """
    by_class: dict[int, list[Example]] = {}
    for example, label in sorted(zip(examples, label_ids, strict=True), key=lambda pair: _is_long(pair[0])):
        by_class.setdefault(int(label), []).append(example)
    wanted = min(max(AT_LEAST, len(by_class)), AT_MOST, len(examples))
    chosen: list[Example] = []
    turn = 0
    while len(chosen) < wanted:
        chosen.extend(members[turn] for _, members in sorted(by_class.items()) if turn < len(members))
        turn += 1
    return [recorded(classifier, example) for example in [*chosen[:wanted], *edges]]


def recorded(classifier: OnnxModel, example: Example) -> GoldenExample:
    """An example with the classifier's answer."""
    (answer,) = classifier.answers([example])
    return GoldenExample(
        **_given(example),
        label=classifier.labels[int(answer.argmax())] if classifier.labels else None,
        answer=[round(float(value), 6) for value in answer],
    )


def _given(example: Example) -> dict[str, Any]:
    if isinstance(example, str):
        return {"text": example}
    return {"row": list(example)} if isinstance(example, tuple) else {"values": example.tolist()}


def input_of(golden: GoldenExample) -> Example:
    """What the classifier was given."""
    if golden.text is not None:
        return golden.text
    return tuple(golden.row) if golden.row is not None else np.asarray(golden.values, dtype=np.float32)


def _is_long(example: Example) -> bool:
    return isinstance(example, str) and len(example) > MAX_TEXT
