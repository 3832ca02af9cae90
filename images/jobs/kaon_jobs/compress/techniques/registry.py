"""All techniques, found by the files of this package. See its docstring for how they are named."""

from __future__ import annotations

import importlib
import pkgutil
from typing import cast

from kaon.api.compressionjob import Step
from kaon_jobs.compress import techniques
from kaon_jobs.compress.families.kinds import IN_WORDS, Kind
from kaon_jobs.compress.techniques.base import Technique, TechniqueModule
from kaon_jobs.compress.verdict.naming import technique_name
from kaon_jobs.errors import TechniqueFailed

_MODULES = frozenset(info.name for info in pkgutil.iter_modules(techniques.__path__))


def technique_of(step: Step, kind: Kind) -> Technique:
    """The technique that a step asks for, of a model of this kind.

    Raises:
        TechniqueFailed: it is for other kinds, which the message names.
    """
    module = _module_of(step)
    if kind not in module.TAKES:
        raise TechniqueFailed(_refusal(step, module, kind))
    return module.technique(step.parameters, kind)


def _module_of(step: Step) -> TechniqueModule:
    words = technique_name(step).replace("-", "_").split("_")
    for count in range(len(words), 0, -1):
        found = _module("_".join(words[:count]))
        if found is not None:
            return found
    raise TechniqueFailed(f"there is no technique for {_written(step)}")


def _module(name: str) -> TechniqueModule | None:
    """None where this is no module, or one that techniques share."""
    if name not in _MODULES:
        return None
    module = importlib.import_module(f"{techniques.__name__}.{name}")
    return cast(TechniqueModule, module) if hasattr(module, "TAKES") else None


def _refusal(step: Step, module: TechniqueModule, kind: Kind) -> str:
    taken = " and ".join(IN_WORDS[one][1] for one in module.TAKES)
    use = ""
    if step.prune is not None:
        prefix = "prune_"
        others = [name for name in sorted(_MODULES) if name.startswith(prefix)]
        methods = [
            name.removeprefix(prefix) for name in others if (found := _module(name)) is not None and kind in found.TAKES
        ]
        use = f": use prune with method: {' or '.join(methods)}" if methods else ""
    return f"{_written(step)} is for {taken}, and this is {IN_WORDS[kind][0]}{use}"


def _written(step: Step) -> str:
    """A step as it is written, without its figures."""
    if step.prune is not None:
        return f"prune with method: {step.prune.method}"
    if step.quantize is not None:
        return f"quantize with scheme: {step.quantize.scheme}"
    return f"optimize: {step.optimize}" if step.optimize is not None else step.kind
