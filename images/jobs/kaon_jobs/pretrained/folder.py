"""What lies in a base model's folder, checked before anything is loaded: names and sizes first, then the files' form.

Every refusal names the file and says how to mend it. Nothing is unpickled. Reads the folder on this disk; `check_names`
needs the listing alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from kaon_jobs.errors import StageFailure
from kaon_jobs.pretrained.budget import MAX_HEADER_BYTES, check_values
from kaon_jobs.pretrained.refusing import first_line
from kaon_jobs.store.objectstore import Entry

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
PREPROCESSOR_FILE = "preprocessor_config.json"
INDEX_FILE = "model.safetensors.index.json"
MAX_WEIGHT_BYTES = 2**31 - 2**22
"""Of float32 weights. An ONNX file is one protobuf message, which holds 2 GiB; the graph needs a little of it."""

_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
_POINTER = b"version https://git-lfs.github.com/spec/"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_OTHER_FRAMEWORKS = (".h5", ".msgpack", ".ot", ".onnx", ".tflite", ".mlmodel")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "tekken.json")


def check_names(entries: Sequence[Entry], uri: str, *, of_images: bool = False) -> None:
    """Refuses a folder that by its names and sizes cannot be a base model, of texts or of images.

    Raises:
        StageFailure: ModelNotFound, ModelUnreadable or ModelTooLarge.
    """
    sizes = {entry.path: entry.size for entry in entries if "/" not in entry.path}
    names = sorted(sizes)
    beside = PREPROCESSOR_FILE if of_images else "the tokenizer's files"
    folders = sorted({f"{entry.path.split('/', 1)[0]}/" for entry in entries if "/" in entry.path})
    holds = f"It holds {', '.join([*names, *folders][:10]) or 'nothing'}."
    weighty = WEIGHTS_FILE in sizes or INDEX_FILE in sizes
    if "adapter_config.json" in sizes and not weighty:
        raise _unreadable(
            f"{uri} holds an adapter (adapter_config.json) and no model. Merge the adapter into its base model with "
            "peft's merge_and_unload(), save the result with save_pretrained() and upload that folder"
        )
    if "adapter_config.json" in sizes:
        raise _unreadable(
            f"{uri} holds a model and beside it an adapter (adapter_config.json), which would not be read. Merge the "
            "adapter into the model with peft's merge_and_unload(), save the result with save_pretrained() and upload "
            "that folder; or remove the adapter's files, if the model alone is meant"
        )
    if any(name.endswith(".gguf") for name in names) and not weighty:
        raise _unreadable(
            f"{uri} holds {_first(names, ('.gguf',))}: GGUF files are quantized for llama.cpp and cannot be trained. "
            f"Upload the original model with {CONFIG_FILE} and {WEIGHTS_FILE}"
        )
    if CONFIG_FILE not in sizes:
        inside = _models_inside(entries, of_images=of_images)
        if inside:
            ways = " or ".join(f"{uri.rstrip('/')}/{folder}" for folder in inside[:3])
            raise StageFailure(
                "ModelNotFound", f"The model at {uri} lies in a folder of its own. Set spec.model.base to {ways}."
            )
        raise StageFailure(
            "ModelNotFound",
            f"There is no Hugging Face model at {uri}: {CONFIG_FILE} is missing. {holds} Upload "
            f"{CONFIG_FILE}, {beside} and {WEIGHTS_FILE} there, or correct spec.model.base.",
        )
    if not weighty:
        _explain_weights(names, uri, holds)
    if of_images and PREPROCESSOR_FILE not in sizes:
        raise _unreadable(
            f"{uri} holds no {PREPROCESSOR_FILE}, which says how the model reads images. {holds} Upload the one that "
            "belongs to the model"
        )
    if not of_images and not _has_vocabulary(names):
        raise _unreadable(
            f"{uri} holds no vocabulary: none of {', '.join(_VOCABULARIES)} and no SentencePiece model (*.model). "
            f"{holds} Upload the tokenizer's files that belong to the model"
        )
    if sizes.get(WEIGHTS_FILE, 0) > MAX_WEIGHT_BYTES:
        raise too_large(uri, f"{WEIGHTS_FILE} has {sizes[WEIGHTS_FILE]:,} bytes")


def _models_inside(entries: Sequence[Entry], *, of_images: bool) -> list[str]:
    """The folders inside of a folder that hold a config, weights, and a vocabulary or how images are read."""
    held: dict[str, set[str]] = {}
    for entry in entries:
        folder, _, name = entry.path.rpartition("/")
        held.setdefault(folder, set()).add(name)
    return sorted(
        folder
        for folder, names in held.items()
        if CONFIG_FILE in names
        and names & {WEIGHTS_FILE, INDEX_FILE}
        and (PREPROCESSOR_FILE in names if of_images else _has_vocabulary(names))
    )


def _has_vocabulary(names: Iterable[str]) -> bool:
    return any(name in _VOCABULARIES or name.endswith(".model") for name in names)


def check_files(directory: Path, uri: str) -> dict[str, Any]:
    """Refuses a folder whose files are pointers, cut, or not of their form. Returns the content of config.json.

    Raises:
        StageFailure: ModelUnreadable.
    """
    for path in sorted(directory.iterdir()):
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(len(_POINTER))
            if head == _POINTER:
                raise _unreadable(
                    f"{path.name} at {uri} is a Git LFS pointer and not the file itself. Run `git lfs pull` in the "
                    "clone that it came from and upload the folder again"
                )
            if not path.stat().st_size:
                raise _unreadable(f"{path.name} at {uri} is empty. Upload it again")
    if head_of(directory / "vocab.txt") and not (directory / "tokenizer.json").exists():
        raise _unreadable(
            f"vocab.txt at {uri} begins with a byte-order mark, which becomes part of its first token. Save it as "
            "UTF-8 without a byte-order mark"
        )
    for path in sorted((*directory.glob("*.json"), *directory.glob("*.txt"))):
        check_values(path, uri)
    for path in sorted(directory.glob("*.json")):
        read_json(path, uri)
    config = read_json(directory / CONFIG_FILE, uri)
    if not isinstance(config, dict):
        raise _unreadable(f"{CONFIG_FILE} at {uri} is a JSON {type(config).__name__}, expected an object")
    quantized = config.get("quantization_config") or config.get("compression_config")
    if quantized:
        method = quantized.get("quant_method", "unknown method") if isinstance(quantized, dict) else quantized
        raise _unreadable(
            f"The weights at {uri} are quantized ({CONFIG_FILE} has quantization_config, {method}), and training needs "
            "the original ones. Upload the model before its quantization"
        )
    for name in _weight_files(directory, uri):
        _check_weights(directory / name, uri)
    return config


def read_json(path: Path, uri: str) -> Any:
    """The content of a JSON file of the folder.

    Raises:
        StageFailure: ModelUnreadable, with the place.
    """
    if head_of(path):
        raise _unreadable(f"{path.name} at {uri} begins with a byte-order mark. Save it as UTF-8 without one")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise _unreadable(
            f"{path.name} at {uri} is not UTF-8: byte {error.start} cannot be read. Upload it again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"{path.name} at {uri} is not valid JSON: {first_line(error)}. Upload it again") from error


def head_of(path: Path) -> bool:
    """Whether a file is there and begins with a byte-order mark."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(3) == b"\xef\xbb\xbf"


def weight_sizes(directory: Path) -> dict[str, int]:
    """The tensors of a checked folder's weights, each with its bytes."""
    sizes: dict[str, int] = {}
    for name in _weight_files(directory, str(directory)):
        with safe_open(directory / name, framework="np") as weights:
            for key in weights.keys():  # noqa: SIM118, the handle is no mapping
                part = weights.get_slice(key)
                sizes[key] = math.prod(part.get_shape()) * _BYTES.get(part.get_dtype(), 1)
    return sizes


def too_large(uri: str, found: str) -> StageFailure:
    """The refusal of a model that does not fit into one ONNX file."""
    return StageFailure(
        "ModelTooLarge",
        f"The model at {uri} is too large to be exported: {found}, and {MAX_WEIGHT_BYTES:,} bytes of float32 weights "
        "are the limit (2 GiB, the largest ONNX file). Use a smaller base model in spec.model.base.",
    )


def _explain_weights(names: Sequence[str], uri: str, holds: str) -> None:
    pickled, others = _first(names, _PICKLED), _first(names, _OTHER_FRAMEWORKS)
    if pickled is not None and pickled != "training_args.bin":
        raise _unreadable(
            f"{uri} has its weights in {pickled} alone, a pickle, which can run code when it is opened and is never "
            f'opened here. Convert it where you trust it: python -c "from transformers import AutoModel; '
            f"AutoModel.from_pretrained('FOLDER').save_pretrained('FOLDER')\" writes {WEIGHTS_FILE}. Upload the folder "
            "again"
        )
    if others is not None:
        raise _unreadable(f"{uri} has its weights in {others} alone. Upload the PyTorch weights as {WEIGHTS_FILE}")
    other_name = _first(names, (".safetensors",))
    if other_name is not None:
        raise _unreadable(
            f"{uri} has {other_name}, but neither {WEIGHTS_FILE} nor {INDEX_FILE}, by which weights are found. {holds} "
            f"Upload the whole model, or rename its one file to {WEIGHTS_FILE}"
        )
    raise _unreadable(f"{uri} has no weights: {WEIGHTS_FILE} is missing. {holds} Upload it")


def _first(names: Sequence[str], endings: tuple[str, ...]) -> str | None:
    return next((name for name in names if name.endswith(endings)), None)


def _weight_files(directory: Path, uri: str) -> list[str]:
    if (directory / WEIGHTS_FILE).exists():
        return [WEIGHTS_FILE]
    index = read_json(directory / INDEX_FILE, uri)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise _unreadable(f"{INDEX_FILE} at {uri} has no weight_map from weights to files. Upload it again")
    names = sorted(set(shards.values()))
    lost = [name for name in names if "/" in name or not (directory / name).is_file()]
    if lost:
        raise _unreadable(
            f"{INDEX_FILE} at {uri} names {len(names)} files, and {len(lost)} are missing: {', '.join(lost[:5])}. "
            "Upload them too"
        )
    return names


def _check_weights(path: Path, uri: str) -> None:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if MAX_HEADER_BYTES < header < path.stat().st_size:
        raise StageFailure(
            "ModelTooLarge",
            f"{path.name} at {uri} has a header of {header:,} bytes, and {MAX_HEADER_BYTES:,} is the limit. Save the "
            "model again with save_pretrained().",
        )
    try:
        with safe_open(path, framework="pt") as weights:
            if not list(weights.keys()):
                raise _unreadable(f"{path.name} at {uri} holds no weights. Upload it again")
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(
            f"{path.name} at {uri} is cut off or damaged: {first_line(error)}. Upload it again"
        ) from error


def _unreadable(message: str) -> StageFailure:
    return StageFailure("ModelUnreadable", f"{message}.")
