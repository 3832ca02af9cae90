"""Whether a text model that was cut is what its files say: asked a text of full length, a short one, and the shortest.

Touches nothing but models in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from kaon_jobs.predict.positions import longest_input, ordinary_token

TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest logit, that another order of additions explains."""
_SHORT = 5


def probes(model: PreTrainedModel, longest: int) -> list[torch.Tensor]:
    """Token ids [1, tokens] of three texts: of `longest` tokens, of a few, and of one alone."""
    draw = np.random.default_rng(0)
    ids = torch.as_tensor(draw.integers(int(model.config.vocab_size), size=(1, longest)))
    padding = model.config.pad_token_id
    ids = torch.where(ids == (-1 if padding is None else padding), ordinary_token(model), ids)
    return [ids[:, :length] for length in sorted({longest, min(_SHORT, longest), 1}, reverse=True)]


def answers(model: PreTrainedModel, texts: list[torch.Tensor]) -> list[torch.Tensor]:
    """The logits of each text."""
    callable_model: Any = model
    with torch.no_grad():
        return [callable_model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits for ids in texts]


def difference(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """The largest difference of a logit, relative to the largest one; infinite where an answer is no number."""
    worst = 0.0
    for left, right in zip(one, other, strict=True):
        if left.shape != right.shape or not (left.isfinite().all() and right.isfinite().all()):
            return float("inf")
        worst = max(worst, float((left - right).abs().max() / left.abs().max().clamp_min(1.0)))
    return worst


def alike(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Whether two models gave the same answers."""
    return difference(one, other) <= TOLERANCE


def describes(config: Any, model: PreTrainedModel, longest: int) -> bool:
    """Whether a model that is built from `config` takes the weights of `model`, all of them, and answers like it."""
    try:
        with torch.device("meta"):
            made: Any = AutoModelForSequenceClassification.from_config(config)
        shapes = {name: weight.shape for name, weight in made.state_dict().items()}
        if shapes != {name: weight.shape for name, weight in model.state_dict().items()}:
            return False
        made = AutoModelForSequenceClassification.from_config(config).eval()
        made.load_state_dict(model.state_dict())
        texts = probes(model, longest)
        return alike(answers(made, texts), answers(model, texts))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RuntimeError):
        # What a config's own checks, and a module that does not fit it, raise.
        return False


def reads(model: PreTrainedModel, wanted: int) -> int:
    """`wanted` tokens, or fewer where the model reads fewer."""
    most = longest_input(model)
    return wanted if most is None else min(wanted, most)
