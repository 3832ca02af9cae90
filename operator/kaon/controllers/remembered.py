"""Answers that are asked for about ten times in a resource's life, while its spec seldom changes. Pure.

The last 1,024 of each are kept, of small inputs only: some 20 MB at most.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import orjson

from kaon.api.base import ApiModel
from kaon.contract.digest import digest_of
from kaon.controllers.base import Object

Model = TypeVar("Model", bound=ApiModel)

COUNT = 1024
MOST_BYTES = 2048


def parsed(model: type[Model], spec: Object) -> Model:
    """A spec as its model.

    Raises:
        ValidationError: this operator cannot read it.
    """
    text = _small(spec)
    return model.model_validate(spec) if text is None else _parsed(model, text)


def digest(value: Any) -> str:
    """As `digest_of`."""
    text = _small(value)
    return digest_of(value) if text is None else _digest(text)


def _small(value: Any) -> bytes | None:
    try:
        text = orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits, a surrogate: whoever reads it says so
        return None
    return text if len(text) <= MOST_BYTES else None


@lru_cache(maxsize=COUNT)
def _parsed(model: type[Model], text: bytes) -> Model:
    return model.model_validate(orjson.loads(text))


@lru_cache(maxsize=COUNT)
def _digest(text: bytes) -> str:
    return digest_of(orjson.loads(text))
