"""Intel Neural Compressor 3: its accuracy-driven autotune over PT2E static and dynamic quantization of the torch model.

It takes the first configuration that loses at most 0.01 of the validation score, which is the budget, and saves it in
its own form; whoever runs it compiles it with inductor, as its documentation says. Shapes are fixed, which is the
fastest form of it.
"""

from __future__ import annotations

from pathlib import Path

import nets
import torch
from contract import Case, Feed, Made, NotPossible, Rows, main
from neural_compressor.torch.export import export
from neural_compressor.torch.quantization import (
    DynamicQuantConfig,
    StaticQuantConfig,
    TuningConfig,
    autotune,
)
from peers.sessions import calibration, classes_of
from torch import Tensor, nn

MODEL = "quantized_weight.pt"
SETTINGS = "qconfig.json"


class _Scores(nn.Module):
    """A Hugging Face classifier that answers with its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        scores: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return scores


def compress(case: Case, out: Path) -> Made:
    """The first configuration that keeps the budget."""
    torch.set_num_threads(case.threads)
    validation = case.rows("validation")
    feeds = calibration(case, fixed_length=True)
    exported = export(_model(case, validation), example_inputs=_inputs(feeds[0]))

    def calibrate(model: nn.Module) -> None:
        for feed in feeds:
            model(*_inputs(feed))

    def evaluate(model: nn.Module) -> float:
        with torch.no_grad():
            found = classes_of(lambda feed: model(*_inputs(feed)), validation, fixed_length=True)
        return case.validation_score(validation, found)

    sets = [StaticQuantConfig.get_config_set_for_tuning(), DynamicQuantConfig.get_config_set_for_tuning()]
    best = autotune(
        exported,
        TuningConfig(config_set=sets, tolerable_loss=0.01),
        evaluate,
        run_fn=calibrate,
        example_inputs=_inputs(feeds[0]),
    )
    if best is None:
        raise NotPossible("autotune found no configuration inside the budget")
    best.save(example_inputs=_inputs(feeds[0]), output_dir=str(out))
    return Made(
        "autotune over its PT2E static and dynamic configurations, saved by its own save()",
        runtime="torch",
        model=MODEL,
        files=(MODEL, SETTINGS),
        fixed_length=True,
    )


def _model(case: Case, rows: Rows) -> nn.Module:
    classes = len(case.labels)
    if case.kind == "text":
        from transformers import AutoModelForSequenceClassification

        return _Scores(AutoModelForSequenceClassification.from_pretrained(case.torch_form).eval()).eval()
    (values,) = rows.inputs.values()
    return nets.load(case.torch_form, case.name, classes, values.shape[-1])


def _inputs(feed: Feed) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(values) for values in feed.values())


if __name__ == "__main__":
    main(compress, "neural-compressor-pt", "torch")
