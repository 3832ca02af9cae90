"""The embedding tables of a text model, told apart by what they are asked: tokens, positions or something else.

Touches nothing but the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from kaon_jobs.compress.families import faithful


@dataclass(frozen=True, slots=True)
class Lookup:
    """A table, and the rows that a text of full length asks for, one a token."""

    parent: torch.nn.Module
    name: str
    table: torch.nn.Embedding
    rows: torch.Tensor

    def replace(self, weights: torch.Tensor, padding: int | None) -> None:
        """Puts a table of these weights in its place."""
        made = torch.nn.Embedding(len(weights), weights.shape[1], padding_idx=padding)
        made.weight.data = weights
        setattr(self.parent, self.name, made)


def token_tables(model: PreTrainedModel, longest: int) -> list[Lookup]:
    """The tables that are asked for the text's own token ids."""
    ids = faithful.probes(model, longest)[0]
    return [item for item in _lookups(model, ids) if torch.equal(item.rows, ids[0])]


def position_table(model: PreTrainedModel, longest: int) -> Lookup | None:
    """The table whose rows follow one another whatever the tokens are; None where positions are told otherwise."""
    ids = faithful.probes(model, longest)[0]
    for item in _lookups(model, ids):
        if longest > 1 and bool((item.rows.diff() == 1).all()) and not torch.equal(item.rows, ids[0]):
            return item
    return None


def _lookups(model: PreTrainedModel, ids: torch.Tensor) -> list[Lookup]:
    found: list[Lookup] = []
    handles = []
    for parent in model.modules():
        for name, table in parent.named_children():
            if isinstance(table, torch.nn.Embedding):

                def note(
                    table: torch.nn.Module,
                    given: tuple[torch.Tensor, ...],
                    _: Any,
                    parent: torch.nn.Module = parent,
                    name: str = name,
                ) -> None:
                    # One row a token; a table of distances is asked for tokens times tokens.
                    if isinstance(table, torch.nn.Embedding) and given and given[0].numel() == ids.numel():
                        found.append(Lookup(parent, name, table, given[0].detach().ravel().clone()))

                handles.append(table.register_forward_hook(note))
    try:
        faithful.answers(model, [ids])
    finally:
        for handle in handles:
            handle.remove()
    return found
