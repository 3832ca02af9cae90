"""The two forms of a model in a directory: exported (model.onnx), and trained (weights, config and tokenizer files).

Names and a look at a directory; reads nothing.
"""

from __future__ import annotations

from pathlib import Path

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
DESCRIPTIONS = (CONFIG_FILE, *TOKENIZER_FILES)
"""Besides the weights: what the trained form needs, of the tokenizer's files those that there are."""
TRAINED_FILES = (WEIGHTS_FILE, *DESCRIPTIONS)


def is_trained_form(directory: Path) -> bool:
    """Whether the directory holds weights that can be trained further."""
    return (directory / CONFIG_FILE).is_file() and (directory / WEIGHTS_FILE).is_file()
