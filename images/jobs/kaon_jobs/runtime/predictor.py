"""Texts, rows or images in, answers out, of a model in a folder. Copied beside the model, which needs no Kaon then.

Imports only what a serving image has: numpy, onnxruntime (graph.py), and what the model's reader needs (text.py,
table.py, history.py or image.py).
Reads its own folder, writes nothing.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from graph import open_graph, softmax
from v2 import Refusal, Signature

SETTINGS = "serving.json"
FAILED = "The model fails on this request. Send another."


class Predictor:
    """A model from a folder that holds serving.json and the files that it names."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        self.labels: list[str] = settings["labels"]
        self.max_batch_size: int = settings["maxBatchSize"]
        self.counter: str = settings["counter"]
        """The name of the counter of answers by class."""
        self.counted: list[str] = settings["counted"]
        """Of each class the value of the counter's `label`; some classes share one."""
        self._probe: str = settings["probe"]
        self.signature = Signature(settings["inputs"], settings["outputs"])
        self._session = open_graph(folder / settings["model"], settings["threads"])
        self._history = _history(settings, folder)
        self._images = _images(settings)
        names = [node.name for node in self._session.get_inputs()]
        self._feed = _feed(settings, folder, names, self._history, self._images)
        self._output = self._session.get_outputs()[0].name

    def read(self, rows: list[Any]) -> list[Any]:
        """The rows of one request as `answers` takes them: of images their pixels, all else as it is.

        Raises:
            Refusal: an image cannot be decoded. It is this request's error, and none of its neighbours'.
        """
        return rows if self._images is None else self._images(rows)

    def answers(self, rows: list[Any]) -> "np.ndarray":
        """One answer for each text, row or image (read), float32: class probabilities in the order of `labels`
        [rows, classes], without classes the predicted number [rows, 1], or the best items by number and their scores
        [rows, 2 ranks]."""
        chunks = [rows[i : i + self.max_batch_size] for i in range(0, len(rows), self.max_batch_size)]
        return np.concatenate([self._run(chunk) for chunk in chunks])

    def each(self, requests: "list[list[Any]]") -> "list[np.ndarray | BaseException]":
        """Of each request the answers to its rows, or what its rows alone raise: a batch is of different clients."""
        try:
            rows = self.answers([row for request in requests for row in request])
        except BaseException as error:
            # A panic of the tokenizer's Rust code is no Exception.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in self.each([request])]
        ends = np.cumsum([len(request) for request in requests])
        found = [rows[end - len(request) : end] for request, end in zip(requests, ends, strict=True)]
        # JSON has no other numbers.
        return [one if np.isfinite(one).all() else ArithmeticError("an answer is not finite") for one in found]

    def tensors(self, answers: "np.ndarray") -> "dict[str, np.ndarray]":
        """The outputs of the V2 protocol, by name, rows first."""
        if self._history is not None:
            found: dict[str, np.ndarray] = self._history.tensors(answers)
            return found
        if not self.labels:
            return {"prediction": answers.astype(np.float64)}
        best = [self.labels[index] for index in answers.argmax(axis=1)]
        return {"label": np.array(best, dtype=np.object_).reshape(-1, 1), "probabilities": answers}

    def counts(self, found: "list[tuple[str | None, np.ndarray]]") -> dict[str, int]:
        """How many texts or rows of a batch were answered with each class, by the value of the counter's `label`.

        Left out are those of the probe, which asks what is recorded: no client knows the id of its requests.

        Args:
            found: of each request its id, and the answers to its rows.
        """
        best = [answers.argmax(axis=1) for asked, answers in found if asked != self._probe] if self.labels else []
        counted: dict[str, int] = {}
        for index, count in enumerate(np.bincount(np.concatenate(best)).tolist() if best else []):
            if count:
                counted[self.counted[index]] = counted.get(self.counted[index], 0) + count
        return counted

    def _run(self, rows: list[Any]) -> "np.ndarray":
        scores = np.asarray(self._session.run([self._output], self._feed(rows))[0], dtype=np.float32)
        if self._history is not None:
            ranked: np.ndarray = self._history.answers(rows, scores)
            return ranked
        if not self.labels:
            return scores
        # What is not finite is found in `each`.
        found: np.ndarray = softmax(scores)
        return found


def _history(settings: dict[str, Any], folder: Path) -> Any:
    """The reader of a model that ranks items; None of another one."""
    if settings["reads"] != "history":
        return None
    from history import HistoryReader

    files = (folder / settings["items"], folder / settings["users"])
    return HistoryReader(*files, settings["maxSequenceLength"], settings["ranks"])


def _images(settings: dict[str, Any]) -> "Callable[[list[Any]], list[Any]] | None":
    """What makes pixels of the files of images; None where the model reads something else."""
    if settings["reads"] != "image":
        return None
    from image import ImageReader, Undecodable

    reader = ImageReader(settings["image"])

    def read(rows: list[Any]) -> list[Any]:
        found = []
        for number, data in enumerate(rows):
            try:
                found.append(reader.pixels(data) if isinstance(data, bytes) else data)
            except Undecodable as refusal:
                way_out = refusal.way_out
                raise Refusal(f"Image {number} of the request: the file {refusal.cause}. {way_out}.") from refusal
        return found

    return read


def _feed(
    settings: dict[str, Any],
    folder: Path,
    names: list[str],
    history: Any,
    images: "Callable[[list[Any]], list[Any]] | None",
) -> "Callable[[list[Any]], dict[str, np.ndarray]]":
    """What makes the graph's inputs `names` of rows. The readers of other kinds do not lie beside the model."""
    if history is not None:
        (input_name,) = names
        return lambda rows: {input_name: history.numbers(rows)}
    if images is not None:
        (image,) = names
        return lambda rows: {image: np.stack(images(rows)).astype(np.float32)}
    if settings["reads"] == "table":
        from table import TableReader

        table, (name,) = TableReader(settings["columns"]), names
        return lambda rows: {name: table.numbers(rows)}
    from text import encode, load_tokenizer, reads_words_alone

    tokenizer = load_tokenizer(folder / settings["tokenizer"], settings["maxSequenceLength"])
    # Once, and not in the first long request.
    reads_words_alone(tokenizer)
    return lambda rows: encode(tokenizer, rows, names)
