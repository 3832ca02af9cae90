"""Fixtures of the engine's tests: the tiny controller's operator, and a Dataset to feed it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY = str(Path(__file__).with_name("tiny.py"))


@pytest.fixture
def start_tiny(start_operator: Callable[..., Any]) -> Callable[..., Any]:
    """Like start_operator, with the tiny controller."""
    return functools.partial(start_operator, program=[TINY])


@pytest.fixture
def dataset(namespace: str) -> Callable[..., dict[str, Any]]:
    """dataset(name, **spec): a valid Dataset."""

    def make(name: str = "one", **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": "kaon.dev/v1alpha1",
            "kind": "Dataset",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "task": "text-classification",
                "sources": [{"uri": "s3://bucket/rows.csv"}],
                "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
                "backoffLimit": 0,
                **spec,
            },
        }

    return make
