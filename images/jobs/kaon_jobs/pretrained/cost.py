"""What a base model's folder costs to be read: its configuration, its tokenizer and its description, tried apart.

A tokenizer's patterns come with the base model, and some take hours for a text of a few thousand characters. The texts
that they are tried with hold each character that the patterns name, again and again. Reads the folder.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from kaon.contract.budgets import Budgets
from kaon_jobs.budget import MEMORY_FIELD, raising
from kaon_jobs.errors import StageFailure, is_panic
from kaon_jobs.pretrained.apart import Say, Stopped, TooMuch, tried
from kaon_jobs.pretrained.base_model import check_size, load_config
from kaon_jobs.pretrained.tokenizer import load_tokenizer

PROBE_CHARACTERS = 32_768
PROBE_SECONDS = 1.0
"""Of processor time for a text of so many characters. The tokenizers of all families take less than a tenth of it."""
_REPEATED = (
    *("a", "A", "1", " ", "\n", "\t", "'", ".", "_", "-", "!", "<", "[", "é", "中", "\u0301", "🙂", "\u200d"),
    *("a1", "a ", " a", "'s", "\r\n", "1,", "!?", "a\n"),
)
_REPEATED_WITHOUT_PATTERNS = ("a", " ", "中", "a ")
_PATTERN_CHARACTERS = 40
"""Characters that patterns name and that are tried."""
_TEXTS = 50
"""Real texts that are tried."""
_CONFIG, _TOKENIZER, _MODEL = "config.json", "the tokenizer", "the model"


def check_cost(directory: Path, uri: str, texts: Sequence[str], labels: int, budgets: Budgets) -> None:
    """Refuses a folder that takes more than its budget of time, or than the pod's memory, before it is loaded.

    Raises:
        StageFailure: TokenizerUnusable, ModelUnreadable or ModelTooLarge.
    """
    patterns = _patterns(directory)

    def work(say: Say) -> None:
        say(_CONFIG)
        config: Any = load_config(directory, uri)
        say(_TOKENIZER)
        tokenizer: Any = load_tokenizer(directory, config, uri)
        fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        fast.no_truncation()
        fast.no_padding()
        for name, text in _probes(list(patterns.values()), texts):
            say(f"{_TOKENIZER} for {name}")
            began = time.process_time()
            try:
                fast.encode(text)
            except BaseException as error:
                if is_panic(error):
                    raise TooMuch("more steps than a pattern may") from error
                raise
            if time.process_time() - began > PROBE_SECONDS * max(1.0, len(text) / PROBE_CHARACTERS):
                raise TooMuch(f"more than {PROBE_SECONDS:g} second for {len(text):,} characters")
        say(_MODEL)
        config.num_labels = labels
        check_size(config, directory, uri)

    stopped = tried(work, budgets.tokenizer_seconds)
    if stopped is not None:
        raise _refusal(stopped, uri, list(patterns))


def _refusal(stopped: Stopped, uri: str, patterns: Sequence[str]) -> StageFailure:
    if stopped.part.startswith(_TOKENIZER):
        where = f" Its patterns are {', '.join(patterns[:3])} in tokenizer.json." if patterns else ""
        seconds = f", {raising('tokenizer_seconds')}" if "processor time" in stopped.what else ""
        return StageFailure(
            "TokenizerUnusable",
            f"The tokenizer at {uri} takes {stopped.what}{stopped.part.removeprefix(_TOKENIZER)}.{where} Texts of the "
            "like would stop a server. Write patterns that do not repeat what is repeated, or use a base model with "
            f"another tokenizer{seconds}.",
        )
    reason = "ModelTooLarge" if "memory" in stopped.what else "ModelUnreadable"
    return StageFailure(
        reason,
        f"config.json at {uri} describes a model that takes {stopped.what} to be built without its weights. Upload "
        f"config.json and the weights of one and the same model, or raise {MEMORY_FIELD}.",
    )


def _probes(patterns: Sequence[str], texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Texts to try, each with what a message calls it: no message holds a real text."""
    named = dict.fromkeys(character for pattern in patterns for character in pattern)
    repeated = (*_REPEATED, *list(named)[:_PATTERN_CHARACTERS]) if patterns else _REPEATED_WITHOUT_PATTERNS
    for part in dict.fromkeys(repeated):
        yield f"a text of {part!r} again and again", part * (PROBE_CHARACTERS // len(part)) + "!"
    step = max(1, len(texts) // _TEXTS)
    for row, text in enumerate(texts[::step][:_TEXTS]):
        yield f"the text of row {row * step + 1:,} of the training and test splits", text[:PROBE_CHARACTERS]


def _patterns(directory: Path) -> dict[str, str]:
    """The patterns of tokenizer.json, by their place in it."""
    file = directory / "tokenizer.json"
    found: dict[str, str] = {}
    waiting: list[tuple[str, Any]] = []
    if file.is_file():
        content = json.loads(file.read_text(encoding="utf-8"))
        # Everything but the vocabulary, which holds no patterns and most of the bytes.
        waiting = (
            [(key, value) for key, value in content.items() if key != "model"] if isinstance(content, dict) else []
        )
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend((f"{place}.{key}", inner) for key, inner in value.items())
        elif isinstance(value, list):
            waiting.extend((f"{place}[{index}]", inner) for index, inner in enumerate(value))
        elif isinstance(value, str) and re.search(r"\.Regex$", place):
            found[place.removesuffix(".Regex")] = value
    return dict(sorted(found.items()))
