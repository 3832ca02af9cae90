"""The base model: a Hugging Face encoder folder from the store, loaded with a classification head.

Only safetensors weights are read: pickled ones are code. Nothing is looked up on a hub. Touches the store and a
scratch directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from kaon.contract.jobspec import TrainWork
from kaon_jobs.errors import StageFailure
from kaon_jobs.store import Progress, folder_digest, open_store, safe_path

_UNUSED = (".bin", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".pth", ".gguf", ".tflite", ".md")
_DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
    "hidden_dropout",
    "embedding_dropout",
)


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model's folder on this disk, and the digest of what was read of it."""

    directory: Path
    digest: str


def fetch_base_model(work: TrainWork, target: Path, progress: Progress | None = None) -> BaseModel:
    """Copies the base model's folder.

    With a pinned digest every file is read and counts; otherwise weights in formats that are never loaded stay where
    they are.

    Raises:
        StageFailure: ModelNotFound or ModelDigestMismatch.
    """
    store = open_store(work.model.base, work.model_secret)
    entries = store.entries()
    if not any(entry.path == "config.json" for entry in entries):
        have = ", ".join(entry.path for entry in entries[:10]) or "nothing"
        raise StageFailure(
            "ModelNotFound",
            f"there is no Hugging Face model at {store.uri}: config.json is missing, it holds {have}. "
            "Upload config.json, tokenizer.json and model.safetensors there, or correct spec.model.base",
        )
    pinned = work.model.digest
    wanted = [entry for entry in entries if pinned is not None or not entry.path.endswith(_UNUSED)]
    total, done, digests = sum(entry.size for entry in wanted), 0, {}

    def seen(length: int) -> None:
        nonlocal done
        done += length
        if progress is not None:
            progress(done, total)

    for entry in wanted:
        digests[entry.path] = store.download(entry.path, target / safe_path(entry.path), seen)
    digest = folder_digest(digests)
    if pinned is not None and pinned != digest:
        raise StageFailure(
            "ModelDigestMismatch",
            f"{store.uri} is not what is pinned: expected {pinned}, found {digest}; pin the new digest if it is meant",
        )
    return BaseModel(target, digest)


def load_tokenizer(base: BaseModel, uri: str) -> PreTrainedTokenizerBase:
    """The base model's fast tokenizer.

    Raises:
        StageFailure: ModelUnreadable.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # The library raises whatever its many formats do (OSError, ValueError, KeyError, a Rust exception …).
        raise _unreadable(uri, "tokenizer", error) from error
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise StageFailure(
            "ModelUnreadable",
            f"the tokenizer at {uri} has no tokenizer.json or no padding token, and serving needs both",
        )
    return tokenizer


def load_model(
    base: BaseModel, uri: str, labels: Sequence[str], dropout: float | None, max_sequence_length: int, vocabulary: int
) -> PreTrainedModel:
    """The encoder with a fresh head of one output per label.

    Raises:
        StageFailure: ModelUnreadable, or SequenceTooLong for its positions.
    """
    try:
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            base.directory,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            problem_type="single_label_classification",
            # A base that was fine-tuned for other classes brings a head of another size: it is replaced.
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype="float32",
            **({} if dropout is None else _dropouts(base, dropout)),
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _unreadable(uri, "model", error) from error
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and positions < max_sequence_length:
        raise StageFailure(
            "SequenceTooLong",
            f"recipe.maxSequenceLength is {max_sequence_length}, but the model at {uri} has {positions} positions",
        )
    if model.config.vocab_size < vocabulary:
        raise StageFailure(
            "ModelUnreadable",
            f"the tokenizer at {uri} has {vocabulary} tokens, the model {model.config.vocab_size}: "
            "they do not belong together",
        )
    return model  # type: ignore[no-any-return]


def _dropouts(base: BaseModel, dropout: float) -> dict[str, float]:
    config = (base.directory / "config.json").read_text()
    # Architectures name it differently; those named in the config, and BERT's head, which is often left out of it.
    return {name: dropout for name in _DROPOUTS if f'"{name}"' in config or name == "classifier_dropout"}


def _unreadable(uri: str, part: str, error: Exception) -> StageFailure:
    first = str(error).strip().split("\n", 1)[0][:500]
    return StageFailure(
        "ModelUnreadable",
        f"the {part} at {uri} cannot be loaded: {first}. It should be a Hugging Face encoder with config.json, "
        "tokenizer.json and model.safetensors",
    )
