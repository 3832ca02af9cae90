"""Golden examples: real texts with the answers that a model gave when it was evaluated. Served answers must agree."""

from __future__ import annotations

from collections.abc import Sequence

from kaon.contract.manifest import GoldenExample
from kaon_jobs.onnx_text import OnnxTextClassifier

AT_LEAST = 8
AT_MOST = 32
MAX_TEXT = 2000
"""Characters; a probe's request stays small."""


def golden_examples(
    classifier: OnnxTextClassifier, texts: Sequence[str], label_ids: Sequence[int]
) -> list[GoldenExample]:
    """Some texts of each class in turn, answered one by one, as a server is asked. Deterministic.

    Fewer than eight only when there are fewer texts.
    """
    by_class: dict[int, list[str]] = {}
    for text, label in sorted(zip(texts, label_ids, strict=True), key=lambda pair: len(pair[0]) > MAX_TEXT):
        by_class.setdefault(int(label), []).append(text)
    wanted = min(max(AT_LEAST, len(by_class)), AT_MOST, len(texts))
    chosen: list[str] = []
    turn = 0
    while len(chosen) < wanted:
        chosen.extend(members[turn] for _, members in sorted(by_class.items()) if turn < len(members))
        turn += 1
    examples = []
    for text in chosen[:wanted]:
        (probabilities,) = classifier.probabilities([text])
        examples.append(
            GoldenExample(
                text=text,
                label=classifier.labels[int(probabilities.argmax())],
                probabilities=[round(float(value), 6) for value in probabilities],
            )
        )
    return examples
