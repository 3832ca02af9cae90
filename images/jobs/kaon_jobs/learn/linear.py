"""A linear support vector machine over TF-IDF of words, as a tokenizer and an ONNX graph.

The served model is the same two files as an encoder's, and answers in a fraction of a millisecond. Term frequencies are
sublinear and rows have length 1 (Salton and Buckley 1988); the machine is LIBLINEAR's (Fan et al. 2008); margins become
probabilities by one temperature (Guo et al. 2017), fitted on the validation split.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy.sparse import csr_matrix
from sklearn.svm import LinearSVC
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from kaon_jobs.data.words import are_unspaced
from kaon_jobs.learn.calibration import ABSENT
from kaon_jobs.learn.export import OPSET
from kaon_jobs.measure.quality import Floats, Ids
from kaon_jobs.predict.onnx_text import unpadded_ids

MAX_WORDS = 50_000
MAX_PIECES = 16_000
"""In scripts without spaces between words, where frequent sequences of characters stand for words."""
PAD, UNKNOWN = "[PAD]", "[UNK]"
SPECIAL = 2
"""Tokens that are no words: the ids of PAD and UNKNOWN are 0 and 1."""


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Scores of a text: the sum over its words of their weight in the text times their weights for the classes."""

    idf: Floats
    """[words]; 0 for PAD and UNKNOWN."""
    weights: Floats
    """[words, classes]"""
    bias: Floats
    """[classes]"""

    def scores(self, counts: csr_matrix) -> Floats:
        """[texts, classes], of counts [texts, words]."""
        return np.asarray(weighted(counts, self.idf) @ self.weights + self.bias, dtype=np.float32)

    def times(self, factor: float) -> LinearModel:
        """The same classes, more or less sure."""
        bias = np.where(self.bias <= ABSENT, self.bias, self.bias * factor)
        return LinearModel(self.idf, np.float32(factor) * self.weights, bias.astype(np.float32))


def make_tokenizer(texts: Sequence[str], max_length: int) -> Tokenizer:
    """A vocabulary of the words of the texts, in lower case and without punctuation.

    Args:
        max_length: words that are read of a text.
    """
    unspaced = are_unspaced(texts)
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN) if unspaced else models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("removed")]
    )
    kind: Any = trainers.BpeTrainer if unspaced else trainers.WordLevelTrainer
    size = MAX_PIECES if unspaced else MAX_WORDS
    trainer = kind(vocab_size=size, special_tokens=[PAD, UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_truncation(max_length)
    tokenizer.enable_padding(pad_id=0, pad_token=PAD)
    return tokenizer


def with_words(tokenizer: Tokenizer, kept: Sequence[int]) -> Tokenizer:
    """The same with these words alone, by their ids; the others are unknown. Of a vocabulary of whole words."""
    told = json.loads(tokenizer.to_str())
    names = {number: word for word, number in told["model"]["vocab"].items()}
    words = [PAD, UNKNOWN, *(names[number] for number in kept if number >= SPECIAL)]
    told["model"]["vocab"] = {word: number for number, word in enumerate(words)}
    return Tokenizer.from_str(json.dumps(told))


def most_telling(model: LinearModel, counts: csr_matrix, words: int) -> list[int]:
    """Ids of the words that move the scores of these texts most, in their order: largest by weight times occurrence.

    Args:
        counts: of the texts that the model was trained on [texts, words].
    """
    moved = np.asarray(weighted(counts, model.idf).sum(axis=0)).ravel() * np.abs(model.weights).max(axis=1)
    moved[:SPECIAL] = -1
    return sorted(int(number) for number in np.argsort(-moved, kind="stable")[:words] if moved[number] > 0)


def words_of(tokenizer: Tokenizer) -> int:
    """How many words a linear model reads by this tokenizer."""
    return tokenizer.get_vocab_size() - SPECIAL


def word_counts(tokenizer: Tokenizer, texts: Sequence[str]) -> csr_matrix:
    """How often each text has each word, of those that a server would read: [texts, words], float32."""
    rows = [np.asarray(ids, dtype=np.int32) for ids in unpadded_ids(tokenizer, texts)]
    columns = np.concatenate([np.zeros(0, np.int32), *rows])
    ends = np.cumsum([0, *map(len, rows)])
    shape = (len(texts), tokenizer.get_vocab_size())
    counts = csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape=shape)
    counts.sum_duplicates()
    return counts


def weighted(counts: csr_matrix, idf: Floats) -> csr_matrix:
    """TF-IDF with sublinear term frequency, rows of length 1 (or 0: a text without a known word)."""
    found = counts.copy()
    found.data = (1 + np.log(found.data)) * idf[found.indices]
    lengths = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel())
    found.data /= np.repeat(np.maximum(lengths, 1e-12), np.diff(found.indptr)).astype(np.float32)
    return found


def fit(counts: csr_matrix, label_ids: Ids, classes: int, *, balanced: bool, seed: int) -> LinearModel:
    """Trains on counts [texts, words]."""
    rows = counts.shape[0]
    idf = np.log((1 + rows) / (1 + np.bincount(counts.indices, minlength=counts.shape[1]))) + 1
    idf[:SPECIAL] = 0
    idf = idf.astype(np.float32)
    weights = np.zeros((counts.shape[1], classes), np.float32)
    bias = np.full(classes, ABSENT, np.float32)
    known = np.unique(label_ids)
    if len(known) == 1:
        bias[known] = 0
        return LinearModel(idf, weights, bias)
    machine = LinearSVC(class_weight="balanced" if balanced else None, random_state=seed)
    machine.fit(weighted(counts, idf), label_ids)
    # Of two classes it has one margin, for the second.
    coefficients = machine.coef_ if len(known) > 2 else np.concatenate([-machine.coef_, machine.coef_])
    intercepts = machine.intercept_ if len(known) > 2 else np.concatenate([-machine.intercept_, machine.intercept_])
    weights[:, known] = coefficients.T
    weights[:SPECIAL] = 0
    bias[known] = intercepts
    return LinearModel(idf, weights, bias)


def graph_of(model: LinearModel) -> onnx.ModelProto:
    """The same as ONNX: input_ids and attention_mask [texts, tokens] in, logits [texts, classes] out.

    A token that occurs c times in its text is met c times, so each meeting counts for 1/c of the word.
    """
    constants = {
        "idf": model.idf,
        "weights": model.weights,
        "bias": model.bias,
        "one": np.float32(1.0),
        "least": np.float32(1e-24),
        "axis_1": np.asarray([1], np.int64),
        "axis_2": np.asarray([2], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["input_ids", "axis_2"], ["ids_down"]),
        helper.make_node("Unsqueeze", ["input_ids", "axis_1"], ["ids_across"]),
        helper.make_node("Equal", ["ids_down", "ids_across"], ["same_token"]),
        helper.make_node("Cast", ["same_token"], ["same"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "axis_2"], ["mask_down"]),
        helper.make_node("MatMul", ["same", "mask_down"], ["times_down"]),
        helper.make_node("Squeeze", ["times_down", "axis_2"], ["times"]),
        helper.make_node("Max", ["times", "one"], ["count"]),
        helper.make_node("Log", ["count"], ["log_count"]),
        helper.make_node("Add", ["log_count", "one"], ["frequency"]),
        helper.make_node("Gather", ["idf", "input_ids"], ["idf_of"]),
        helper.make_node("Mul", ["frequency", "idf_of"], ["weight_unmasked"]),
        helper.make_node("Mul", ["weight_unmasked", "mask"], ["weight"]),
        helper.make_node("Div", ["weight", "count"], ["share"]),
        helper.make_node("Mul", ["weight", "share"], ["square"]),
        helper.make_node("ReduceSum", ["square", "axis_1"], ["length_squared"], keepdims=1),
        helper.make_node("Max", ["length_squared", "least"], ["length_squared_above_0"]),
        helper.make_node("Sqrt", ["length_squared_above_0"], ["length"]),
        helper.make_node("Div", ["share", "length"], ["value"]),
        helper.make_node("Unsqueeze", ["value", "axis_1"], ["value_across"]),
        helper.make_node("Gather", ["weights", "input_ids"], ["weights_of"]),
        helper.make_node("MatMul", ["value_across", "weights_of"], ["scores_across"]),
        helper.make_node("Squeeze", ["scores_across", "axis_1"], ["scores"]),
        helper.make_node("Add", ["scores", "bias"], ["logits"]),
    ]
    tokens = ["batch", "sequence"]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(name, TensorProto.INT64, tokens) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(model.bias)])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(made)
    return made
