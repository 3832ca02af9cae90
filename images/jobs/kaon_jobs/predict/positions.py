"""How many tokens a model can read, found out from what its module does. Asks the model two short inputs.

A family's name or `max_position_embeddings` do not say it: models that count positions from the padding token lose some
rows of their table, and models with relative or rotary positions have no table. Touches nothing but the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_SHORT, _LONG = 3, 7
"""Tokens of the two inputs. A table whose highest row moves by the difference is indexed by position."""


class _Lookups(TorchFunctionMode):
    """Notes the highest row that each embedding table is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.highest: dict[int, tuple[int, int]] = {}
        """Address of a table -> (its highest row asked for, its rows)."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func is torch.nn.functional.embedding:
            rows = args[0] if args else given["input"]
            table = args[1] if len(args) > 1 else given["weight"]
            # One row a token. A table of distances is asked for tokens times tokens.
            if rows.numel() and (rows.dim() == 1 or (rows.dim() == 2 and rows.shape[0] == 1)):
                before, _ = self.highest.get(id(table), (-1, 0))
                self.highest[id(table)] = (max(before, int(rows.max())), int(table.shape[0]))
        return func(*args, **given)


def longest_input(model: Any) -> int | None:
    """Tokens that the model can read at most, special tokens included. None: it has no table of positions.

    Takes any text model of transformers, with or without a head. Leaves its mode as it is.
    """
    token = ordinary_token(model)
    short, long = _lookups(model, token, _SHORT), _lookups(model, token, _LONG)
    bounds = [
        rows - (highest - (_LONG - 1))
        for table, (highest, rows) in long.items()
        # Every token is the same, so that only positions can move the highest row.
        if table in short and highest - short[table][0] == _LONG - _SHORT
    ]
    return min(bounds) if bounds else None


def ordinary_token(model: Any) -> int:
    """A token id that has no meaning of its own to the model's code: not the padding, first or last token."""
    config = model.config
    special = {getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos", "cls", "sep")}
    flat = {one for item in special for one in (item if isinstance(item, list) else [item])}
    return next(token for token in range(len(flat) + 1) if token not in flat)


def _lookups(model: Any, token: int, tokens: int) -> dict[int, tuple[int, int]]:
    device = next(model.parameters()).device
    ids = torch.full((1, tokens), token, dtype=torch.int64, device=device)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), _Lookups() as lookups:
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        model.train(training)
    highest: dict[int, tuple[int, int]] = lookups.highest
    return highest
