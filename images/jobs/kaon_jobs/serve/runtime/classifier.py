"""Text in, probabilities out: tokenizers + onnxruntime. Copied beside the model, which needs no Kaon then.

Imports only what a serving image has: numpy, onnxruntime, tokenizers. Reads its own folder, writes nothing.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

SETTINGS = "serving.json"


class Classifier:
    """A text classifier from a folder that holds model.onnx, tokenizer.json and serving.json."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        self.labels: list[str] = settings["labels"]
        self.max_batch_size: int = settings["maxBatchSize"]
        self._tokenizer = _tokenizer(folder / settings["tokenizer"], settings["maxSequenceLength"])
        self._session = _session(folder / settings["model"], settings["threads"])
        self._inputs = {node.name for node in self._session.get_inputs()}
        self._output = self._session.get_outputs()[0].name

    def probabilities(self, texts: list[str]) -> "np.ndarray":
        """One row of class probabilities for each text (float32, in the order of `labels`)."""
        chunks = [texts[i : i + self.max_batch_size] for i in range(0, len(texts), self.max_batch_size)]
        return np.concatenate([self._run(chunk) for chunk in chunks])

    def best(self, probabilities: "np.ndarray") -> list[str]:
        """The label of the largest probability in each row."""
        return [self.labels[index] for index in probabilities.argmax(axis=1)]

    def _run(self, texts: list[str]) -> "np.ndarray":
        encodings = self._tokenizer.encode_batch(texts)
        tensors = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        feed = {name: np.asarray(rows, dtype=np.int64) for name, rows in tensors.items() if name in self._inputs}
        logits = np.asarray(self._session.run([self._output], feed)[0], dtype=np.float32)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)


def _tokenizer(path: Path, max_length: int) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_length=max_length)
    # Pads to the longest text of the batch, whatever the file says: a fixed length would cost every short text.
    recorded = tokenizer.padding or {}
    tokenizer.enable_padding(
        pad_id=recorded.get("pad_id", 0), pad_token=recorded.get("pad_token", "[PAD]"), length=None
    )
    return tokenizer


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads take the processor from the server's own threads between two requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
