"""Steps and figures in a few words. Pure.

A step is named as a candidate's name shows it: parameters at their default are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kaon.api.compressionjob import Distill, Prune, Quantize, Step, Student, Training, Vocabulary


def step_name(step: Step) -> str:
    """A step in a few words, e.g. `int8-static(entropy, exclude 3)` or `distill(layers 0 5, 12 epochs)`."""
    said = _SAID.get(step.kind)
    return _with(technique_name(step), said(step.parameters) if said else [])


def technique_name(step: Step) -> str:
    """What does the step, e.g. `int8-static` or `prune-heads`: it names a module of compress/techniques too."""
    if step.quantize is not None:
        return step.quantize.scheme
    if step.prune is not None:
        return f"prune-{step.prune.method}"
    return "fusion" if step.optimize is not None else _words(step.kind)


def three_digits(value: float) -> str:
    """A figure to its first three digits, a large one without a power of ten: `34.3`, `1,000`."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{float(f'{value:.3g}'):,.0f}"


def four_decimals(value: float) -> str:
    """A figure of quality: to four decimals, and to six digits where these would show too little or too much."""
    return f"{value:.4f}" if value == 0 or 0.00005 <= abs(value) < 100 else f"{value:.6g}"


def size_in_words(size_bytes: float) -> str:
    """Bytes as `22.9 MB`, a small size as `31.0 kB`."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"


def _with(name: str, said: list[str]) -> str:
    return name + (f"({', '.join(said)})" if said else "")


def _quantize(quantize: Quantize) -> list[str]:
    said: list[str] = []
    if quantize.only is not None:
        said.append(quantize.only)
    if quantize.block_size not in (None, 32):
        said.append(f"blocks of {quantize.block_size}")
    if quantize.calibration_method not in (None, "minmax"):
        said.append(str(quantize.calibration_method))
    if quantize.calibration_samples not in (None, 256):
        said.append(f"{quantize.calibration_samples} rows")
    if quantize.per_channel is False:
        said.append("per tensor")
    if quantize.exclude:
        said.append(f"exclude {len(quantize.exclude)}")
    return said


def _vocabulary(vocabulary: Vocabulary) -> list[str]:
    said = []
    if vocabulary.min_count not in (None, 1):
        said.append(f"{vocabulary.min_count} times")
    if vocabulary.max_tokens is not None:
        said.append(f"{vocabulary.max_tokens} tokens")
    return said


def _prune(prune: Prune) -> list[str]:
    said = [f"{prune.ratio:g}"] if prune.ratio is not None else [_layers(prune.keep_layers or [])]
    if prune.finetune_epochs is not None:
        said.append(f"{prune.finetune_epochs} epochs")
    return said


def _distill(distill: Distill) -> list[str]:
    said = [] if distill.keep_layers is None else [f"layers {_layers(distill.keep_layers)}"]
    if distill.student is not None:
        said.append(_student(distill.student))
    said += _training(distill)
    for word, value, default in (
        ("temperature", distill.temperature, 2),
        ("alpha", distill.alpha, 0.1),
        ("hidden", distill.hidden_loss, 0),
        ("attention", distill.attention_loss, 0),
        ("views", distill.views, 4),
    ):
        if value is not None and value != default:
            said.append(f"{word} {value:g}")
    return said


def _training(training: Training) -> list[str]:
    said = []
    if training.epochs is not None:
        said.append(f"{training.epochs} epochs")
    for word, value in (
        ("rate", training.learning_rate),
        ("batch", training.batch_size),
        ("seed", training.seed),
    ):
        if value is not None:
            said.append(f"{word} {value:g}")
    if training.quantization_aware is not None:
        said.append(f"aware of {training.quantization_aware}")
    return said


def _layers(layers: list[int]) -> str:
    return " ".join(str(layer) for layer in layers)


def _student(student: Student) -> str:
    named = (
        ("layers", student.layers),
        ("wide", student.hidden_size),
        ("inner", student.intermediate_size),
        ("heads", student.attention_heads),
    )
    return "student " + " ".join(f"{word} {value}" for word, value in named if value is not None)


def _words(field: str) -> str:
    """lowRank as low-rank."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in field)


_SAID: Mapping[str, Callable[[Any], list[str]]] = {
    "vocabulary": _vocabulary,
    "prune": _prune,
    "distill": _distill,
    "finetune": _training,
    "linear": lambda linear: [f"{linear.words} words"],
    "lowRank": lambda low_rank: [f"{low_rank.energy:g}"],
    "quantize": _quantize,
}
"""Step -> what is said of its parameters. Of a step that is not here nothing is."""
