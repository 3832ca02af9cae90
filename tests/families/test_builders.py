"""The tiny base models of each family: what they hold, and how many tokens they read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from kaon_jobs.predict.positions import longest_input, ordinary_token

from .builders import FAMILIES, LONGEST

TABLELESS = {"deberta-v2", "modernbert", "qwen2"}
"""Families with relative or rotary positions."""


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def loaded(family: str, directory: Path) -> Any:
    FAMILIES[family](directory)
    return AutoModelForSequenceClassification.from_pretrained(directory, num_labels=3).eval()


def reads(model: Any, tokens: int) -> bool:
    ids = torch.full((1, tokens), ordinary_token(model))
    try:
        with torch.no_grad():
            return bool(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.isfinite().all())
    except (IndexError, RuntimeError):
        return False


def test_the_longest_input_is_what_the_module_really_reads(family: str, tmp_path: Path) -> None:
    model = loaded(family, tmp_path)
    longest = longest_input(model)
    if family in TABLELESS:
        assert longest is None and reads(model, 3 * LONGEST[family])
    else:
        assert longest == LONGEST[family]
        assert reads(model, longest) and not reads(model, longest + 1)


def test_a_base_model_is_the_same_every_time_and_reads_words_of_its_own(family: str, tmp_path: Path) -> None:
    FAMILIES[family](tmp_path / "one")
    FAMILIES[family](tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(names)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "one")
    tokens = tokenizer("the old feather", add_special_tokens=False)["input_ids"]
    assert len(tokens) < 6 and tokenizer.unk_token_id not in tokens
