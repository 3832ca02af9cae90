"""A matrix of a text model, whichever way round it stores its weight. Pure, but for the matrix itself.

torch's Linear stores [outputs, inputs]; the Conv1D of transformers, which GPT-2 is made of, stores [inputs, outputs].
"""

from __future__ import annotations

import torch
from transformers.pytorch_utils import Conv1D

Matrix = torch.nn.Linear | Conv1D


def inputs_of(matrix: Matrix) -> int:
    """How many numbers it takes."""
    return int(matrix.weight.shape[0 if isinstance(matrix, Conv1D) else 1])


def outputs_of(matrix: Matrix) -> int:
    """How many numbers it gives."""
    return int(matrix.weight.shape[1 if isinstance(matrix, Conv1D) else 0])


def input_weights(matrix: Matrix) -> torch.Tensor:
    """The weights, inputs first: a view, to be changed in place."""
    return matrix.weight.data if isinstance(matrix, Conv1D) else matrix.weight.data.T


def keep_outputs(matrix: Matrix, chosen: torch.Tensor) -> None:
    """Leaves only these outputs."""
    _store(matrix, input_weights(matrix)[:, chosen])
    if matrix.bias is not None:
        matrix.bias = torch.nn.Parameter(matrix.bias.data[chosen].clone())


def keep_inputs(matrix: Matrix, chosen: torch.Tensor) -> None:
    """Leaves only these inputs."""
    _store(matrix, input_weights(matrix)[chosen])


def zero_outputs(matrix: Matrix, chosen: torch.Tensor) -> None:
    """Makes these outputs nothing."""
    input_weights(matrix)[:, chosen] = 0
    if matrix.bias is not None:
        matrix.bias.data[chosen] = 0


def zero_inputs(matrix: Matrix, chosen: torch.Tensor) -> None:
    """Makes nothing of these inputs."""
    input_weights(matrix)[chosen] = 0


def _store(matrix: Matrix, weights: torch.Tensor) -> None:
    stored = weights if isinstance(matrix, Conv1D) else weights.T
    matrix.weight = torch.nn.Parameter(stored.clone(memory_format=torch.contiguous_format))
    if isinstance(matrix, Conv1D):
        matrix.nx, matrix.nf = stored.shape
    else:
        matrix.out_features, matrix.in_features = stored.shape
