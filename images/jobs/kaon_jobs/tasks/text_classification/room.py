"""text-classification in pods: an encoder is fine-tuned, or a linear model trained; a linear model is the baseline."""

from __future__ import annotations

from collections.abc import Sequence

from kaon.api.evaluation import SimpleBaseline
from kaon_jobs.data.splits import Rows
from kaon_jobs.predict.edges import edge_texts
from kaon_jobs.predict.onnx_model import Example, OnnxModel
from kaon_jobs.predict.onnx_text import OnnxTextModel
from kaon_jobs.tasks.base import Learned, Lesson, Room
from kaon_jobs.tasks.text_classification import encoder, linear_baseline, linear_model


class TextClassification(Room):
    """Texts in, one of a fixed set of classes out."""

    def learn(self, lesson: Lesson, percents: tuple[int, int]) -> Learned:
        # The only builtin of the task; the operator and the spec's schema refuse others.
        return encoder.learn(lesson, percents) if lesson.base is not None else linear_model.learn(lesson, percents)

    def edges(self, model: OnnxModel, rows: Rows) -> Sequence[Example]:
        assert isinstance(model, OnnxTextModel)  # by its card
        return edge_texts(model.tokenizer, rows.inputs)

    def baseline(self, lesson: Lesson) -> SimpleBaseline:
        train, test = lesson.train, lesson.test
        return linear_baseline.baseline(train.inputs, train.targets, test.inputs, test.targets, lesson.labels)


ROOM = TextClassification()
