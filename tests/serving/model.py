"""A tiny model's answers, computed here by the file that the servers run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from serving import bodies, run, servers
from tests.unit.jobs.serve import tiny

from kaon_jobs.runtime import v2


def expected(folder: Path, max_batch_size: int, kind: str = "text") -> run.Expected:
    """What a model of that kind, one of servers.MODELS, answers; each row is predicted by itself."""
    write, described = servers.MODELS[kind]
    write(folder)
    card = described(folder)
    (folder / "serving.json").write_text(json.dumps(tiny.settings_of(card, max_batch_size=1)))
    predictor = tiny.siblings("predictor").Predictor(folder)

    def predict(rows: list[Any]) -> dict[str, list[Any]]:
        tensors = predictor.tensors(predictor.answers(rows))
        return {name: values.reshape(-1).tolist() for name, values in tensors.items()}

    signature = v2.Signature(**card.served_signature.wire())
    return run.Expected(predict, max_batch_size, signature, bodies.beside(card.served_signature))
