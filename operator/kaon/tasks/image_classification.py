"""image-classification: a picture in, one of a fixed set of classes out."""

from __future__ import annotations

from types import MappingProxyType

from kaon.tasks.base import Builtin, Task
from kaon.tasks.metrics import ACCURACY, CLASSIFICATION, MACRO_F1

_RECIPE = frozenset(
    {
        *("augmentation", "batchSize", "classWeights", "earlyStopping", "epochs", "gradientAccumulationSteps"),
        *("imageSize", "labelSmoothing", "learningRate", "maxGradNorm", "precision", "scheduler", "seed"),
        *("warmupRatio", "weightDecay"),
    }
)
# Weights that begin at random need more steps, and larger ones, than those of a base model.
_FROM_NOTHING = MappingProxyType({"epochs": 20, "learningRate": 1e-3})

TASK = Task(
    name="image-classification",
    metrics=CLASSIFICATION,
    headline=(ACCURACY.name, MACRO_F1.name),
    compared=(ACCURACY.name, MACRO_F1.name),
    stopping=MACRO_F1.name,
    target="class",
    columns=("image",),
    most_columns=1,
    from_store=True,
    idle=frozenset({"maxSequenceLength"}),
    builtins=(
        Builtin(
            name="cnn",
            about="a small convolutional network of six layers",
            recipe=_RECIPE,
            defaults=_FROM_NOTHING,
        ),
        Builtin(
            name="resnet18",
            about="ResNet-18 with weights that begin at random",
            recipe=_RECIPE,
            defaults=_FROM_NOTHING,
        ),
        Builtin(
            name="mobilenet",
            about="MobileNetV2 with weights that begin at random",
            recipe=_RECIPE,
            defaults=_FROM_NOTHING,
        ),
    ),
)
