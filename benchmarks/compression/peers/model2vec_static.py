"""Model2Vec: a static embedding for each token, distilled from the encoder, and a classifier trained on it.

Its documented way for a classifier: distil, fine-tune on the labels with a validation split, export the pipeline.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from contract import MASK, MODEL_FILE, OWN_TEST_FILE, Case, Made, NotPossible, Rows, main, write_rows
from model2vec.distill import distill_from_model
from model2vec.onnx import export_model_to_onnx
from model2vec.train import StaticModelForClassification
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

TOKENIZER_FILE = "tokenizer.json"
PARQUET_FOLDER = "parquet"


def compress(case: Case, out: Path) -> Made:
    """Distils the fine-tuned encoder and trains the classifier on the training rows, stopped by the validation rows."""
    if case.kind != "text":
        raise NotPossible("makes models of texts only")
    encoder, tokenizer = AutoModel.from_pretrained(case.torch_form), AutoTokenizer.from_pretrained(case.torch_form)
    static = distill_from_model(model=encoder, tokenizer=tokenizer, device="cpu")
    classifier = StaticModelForClassification.from_static_model(model=static)
    texts, labels = _split(case, "train")
    known, truth = _split(case, "validation")
    classifier.fit(texts, labels, X_val=known, y_val=truth, device="cpu")
    export_model_to_onnx(classifier.to_pipeline(), out)
    _own_test(case, out, [str(name) for name in classifier.classes])
    return Made("distilled, and a classifier trained on it", files=(MODEL_FILE, TOKENIZER_FILE), complete=True)


def _split(case: Case, name: str) -> tuple[list[str], list[str]]:
    table = pq.read_table(case.folder / PARQUET_FOLDER / f"{name}.parquet", columns=["text", "label"])
    return table["text"].to_pylist(), table["label"].to_pylist()


def _own_test(case: Case, out: Path, classes: list[str]) -> None:
    """The test rows as its own tokenizer reads them, with the classes numbered as the case numbers them."""
    if classes != case.labels:
        raise ValueError(f"its classes {classes} are not {case.labels}")
    texts, _ = _split(case, "test")
    tokenizer = Tokenizer.from_file(str(out / TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    read = tokenizer.encode_batch(texts, add_special_tokens=False)
    inputs = {
        "input_ids": np.asarray([one.ids for one in read], dtype=np.int64),
        MASK: np.asarray([one.attention_mask for one in read], dtype=np.int64),
    }
    test = case.rows("test")
    write_rows(out / OWN_TEST_FILE, Rows(inputs, test.labels, test.baseline))


if __name__ == "__main__":
    main(compress, "model2vec", "onnxruntime")
