"""Quantization-aware training: weights as they will be stored, gradients as if they were exact.

The straight-through estimator (Bengio et al. 2013; Jacob et al. 2018). Rounds like the quantize steps that follow:
int8 by output channel, int4 by blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.utils import parametrize
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from kaon_jobs.compress.families.matrices import Matrix

INT4_BLOCK = 32


class Rounded(torch.nn.Module):
    """A weight as `bits` would store it."""

    def __init__(self, bits: int, block: int | None, *, inputs_first: bool) -> None:
        super().__init__()
        self._largest = 2 ** (bits - 1) - 1
        self._block = block
        self._inputs_first = inputs_first

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Rounded values, with the gradient of the exact ones."""
        by_output = weight.T if self._inputs_first else weight
        grouped = by_output
        if self._block is not None and by_output.shape[-1] % self._block == 0:
            grouped = by_output.reshape(-1, self._block)
        scale = grouped.detach().abs().amax(dim=-1, keepdim=True).clamp_min(1e-8) / self._largest
        rounded = ((grouped / scale).round() * scale).reshape(by_output.shape)
        straight: torch.Tensor = weight + ((rounded.T if self._inputs_first else rounded) - weight).detach()
        return straight


@contextmanager
def rounded_weights(model: PreTrainedModel, kind: str | None) -> Iterator[None]:
    """Inside, the model computes with rounded matrices and tables; afterwards it holds the exact ones that they came
    from, which the quantize step rounds to the same."""
    if kind is None:
        yield
        return
    parts = [part for part in model.modules() if isinstance(part, Matrix | torch.nn.Embedding)]
    bits, block = (8, None) if kind == "int8" else (4, INT4_BLOCK)
    for part in parts:
        rounded = Rounded(bits, block, inputs_first=isinstance(part, Conv1D))
        parametrize.register_parametrization(part, "weight", rounded)
    try:
        yield
    finally:
        for part in parts:
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=False)
