"""Base models' folders, damaged at random from a seed: each is trained with its own weights, or refused with the cause.

Files are removed, emptied, cut, given other bytes, swapped with another family's, and values of their JSON changed.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from kaon_jobs.errors import StageFailure

from .builders import FAMILIES
from .checking import checked

VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 7, 33, 2**31, 10**12, 0.5, -0.5, 1e308, float("nan")),
    *("", "x", "eager", "gelu", "🙂", [], {}, [1, 2], {"a": 1}, ["x"]),
)
NAMES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "vocab", "spec.model.base")


@dataclass(frozen=True, slots=True)
class Tried:
    """One damaged folder and what came of it."""

    seed: int
    family: str
    damage: str
    reason: str | None
    """Of the refusal; None when it is trained."""
    message: str = ""


class Bases:
    """A whole folder of each family, made once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, family: str) -> Path:
        """The family's folder, which nobody changes."""
        folder = self.root / family
        if not folder.exists():
            FAMILIES[family](folder)
        return folder


def damaged(seed: int, bases: Bases, folder: Path) -> Tried:
    """Damages a folder and has it checked as before a training.

    Raises:
        AssertionError: it is refused without a place, or trained with weights that are not its own.
    """
    draw = random.Random(seed)
    family = draw.choice(list(FAMILIES))
    for path in bases.folder(family).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    done = [draw.choice(_DAMAGES)(draw, bases, folder) for _ in range(draw.choice((1, 1, 1, 2)))]
    damage = ", ".join(done)
    try:
        _, model = checked(folder)
    except StageFailure as failure:
        assert not failure.retriable and failure.reason != "InternalError", f"{seed}: {failure.message}"
        assert any(name in failure.message for name in NAMES), f"{seed}: names no file: {failure.message}"
        return Tried(seed, family, damage, failure.reason, failure.message)
    _has_own_weights(model, folder, seed)
    return Tried(seed, family, damage, None)


def _has_own_weights(model: Any, folder: Path, seed: int) -> None:
    """Every weight that the hidden states hang on is in the folder, bit for bit."""
    held = load_file(folder / "model.safetensors")
    prefix = model.base_model_prefix
    for name, weight in model.base_model.named_parameters():
        found = held.get(name, held.get(f"{prefix}.{name}"))
        if found is None:
            assert name.startswith("pooler."), f"{seed}: {name} was drawn at random"
        else:
            assert torch.equal(weight, found.float()), f"{seed}: {name} is not as it lies in the folder"


def _some_file(draw: random.Random, folder: Path) -> Path:
    return draw.choice(sorted(path for path in folder.iterdir() if path.is_file()))


def _remove(draw: random.Random, bases: Bases, folder: Path) -> str:
    path = _some_file(draw, folder)
    if len(list(folder.iterdir())) > 1:
        path.unlink()
    return f"without {path.name}"


def _empty(draw: random.Random, bases: Bases, folder: Path) -> str:
    path = _some_file(draw, folder)
    path.write_bytes(b"")
    return f"{path.name} empty"


def _cut(draw: random.Random, bases: Bases, folder: Path) -> str:
    path = _some_file(draw, folder)
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content) + 1)])
    return f"{path.name} cut"


def _flip(draw: random.Random, bases: Bases, folder: Path) -> str:
    path = _some_file(draw, folder)
    content = bytearray(path.read_bytes() or b"0")
    for _ in range(draw.choice((1, 3, 20))):
        # The head of a file is what its readers stumble over.
        place = draw.randrange(min(len(content), draw.choice((64, 4096, 10**9))))
        content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(content))
    return f"{path.name} with other bytes"


def _swap(draw: random.Random, bases: Bases, folder: Path) -> str:
    other = draw.choice(list(FAMILIES))
    path = _some_file(draw, bases.folder(other))
    (folder / path.name).write_bytes(path.read_bytes())
    return f"{path.name} of {other}"


def _value(draw: random.Random, bases: Bases, folder: Path) -> str:
    paths = sorted(folder.glob("*.json"))
    path = draw.choice(paths) if paths else None
    if path is None:
        return "no JSON"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return f"{path.name} was no JSON"
    holder, key = content, None
    while isinstance(holder, dict | list) and holder:
        key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
        if not isinstance(holder[key], dict | list) or not holder[key] or draw.random() < 0.3:
            break
        holder = holder[key]
    if key is not None:
        holder[key] = draw.choice(VALUES)
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"{path.name}: {key} = {holder[key] if key is not None else None!r}"


_DAMAGES: tuple[Callable[[random.Random, Bases, Path], str], ...] = (
    *(_remove, _empty, _cut, _cut, _flip, _flip, _swap, _swap, _swap),
    *(_value, _value, _value, _value),
)


def main(folders: int, first: int) -> int:
    """Tries so many folders; prints a line for each reason. 1 when one was neither trained nor refused in order."""
    reasons: dict[str, int] = {}
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="bases-") as root:
        bases = Bases(Path(root))
        for seed in range(first, first + folders):
            with tempfile.TemporaryDirectory(prefix="folder-") as folder:
                try:
                    tried = damaged(seed, bases, Path(folder))
                except BaseException as error:
                    if isinstance(error, KeyboardInterrupt | SystemExit):
                        raise
                    wrong += 1
                    print(f"seed {seed}: {type(error).__name__}: {str(error)[:600]}", flush=True)
                    continue
            said = tried.reason or "trained"
            reasons[said] = reasons.get(said, 0) + 1
            print(f"seed {seed}: {tried.family}: {tried.damage[:120]}: {said} {tried.message[:300]}", flush=True)
    print(
        f"{folders} folders: {', '.join(f'{count} {said}' for said, count in sorted(reasons.items()))}; {wrong} wrong"
    )
    return 1 if wrong else 0
