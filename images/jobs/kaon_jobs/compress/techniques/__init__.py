"""The techniques: one file each, all with one face. A technique reads one model directory and writes another.

Adding one: a file here with a class that has `name` and `apply`, a line in `technique_of`, and, when the search shall
use it by itself, a line in search.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from kaon.api.compressionjob import Step
from kaon_jobs.compress.calibration import Calibration


class TechniqueFailed(Exception):
    """This technique cannot make a sound model of this one, and would fail again. The message says why."""


class Technique(Protocol):
    """One transformation of an exported model."""

    @property
    def name(self) -> str:
        """As it stands in a candidate's name, parameters that are not the default included."""
        ...

    def apply(self, source: Path, target: Path, data: Calibration) -> None:
        """Writes target/model.onnx, made of source/model.onnx. The other files of a model lie in both directories.

        Raises:
            TechniqueFailed: it does not apply to this model, or what it made is not sound.
        """
        ...


def technique_of(step: Step) -> Technique:
    """The technique that a step asks for."""
    # Each imports onnxruntime's tools, which take seconds; a pure caller needs only the names below.
    if step.optimize is not None:
        from kaon_jobs.compress.techniques.fusion import TransformerFusion

        return TransformerFusion()
    if step.quantize is None:
        raise TechniqueFailed("the step is empty: it must be exactly one of optimize, quantize")
    match step.quantize.scheme:
        case "int8-dynamic":
            from kaon_jobs.compress.techniques.int8_dynamic import Int8Dynamic

            return Int8Dynamic(step.quantize)
        case "int8-static":
            from kaon_jobs.compress.techniques.int8_static import Int8Static

            return Int8Static(step.quantize)
        case "fp16":
            from kaon_jobs.compress.techniques.fp16 import Float16Storage

            return Float16Storage(step.quantize)


def step_name(step: Step) -> str:
    """A step in a few words, e.g. `int8-static(entropy, exclude 3)`; parameters at their default are not named."""
    if step.quantize is None:
        return "fusion" if step.optimize is not None else "nothing"
    quantize, said = step.quantize, []
    if quantize.calibration_method not in (None, "minmax"):
        said.append(str(quantize.calibration_method))
    if quantize.calibration_samples not in (None, 256):
        said.append(f"{quantize.calibration_samples} rows")
    if quantize.per_channel is False:
        said.append("per tensor")
    if quantize.exclude:
        said.append(f"exclude {len(quantize.exclude)}")
    return quantize.scheme + (f"({', '.join(said)})" if said else "")
