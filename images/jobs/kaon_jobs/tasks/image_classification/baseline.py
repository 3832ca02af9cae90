"""The plain model that every trained one is measured against: logistic regression on small pixels.

It trains in seconds. On centred digits and the like it is hard to be far above it; on photographs it knows little more
than their colours. Reads images, returns metrics; writes nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kaon.api.evaluation import SimpleBaseline
from kaon_jobs.data.splits import Rows
from kaon_jobs.learn.images.pixels import suited
from kaon_jobs.measure.quality import Ids, quality
from kaon_jobs.runtime.image import ImageReader

SIDE = 16
NAME = f"logistic regression on {SIDE} x {SIDE} pixels"
MAX_ROWS = 20_000
"""Training rows that it learns from; more change it little, and take minutes."""
MAX_STEPS = 200


def baseline(train: Rows, test: Rows, labels: list[str]) -> SimpleBaseline:
    """Trains on rows of `train` and measures on `test`."""
    chosen = np.arange(len(train))
    if len(train) > MAX_ROWS:
        chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:MAX_ROWS])
    known = train.some(chosen)
    probabilities = predicted(known.inputs, known.targets, test.inputs, len(labels))
    return SimpleBaseline(name=NAME, metrics=quality(test.targets, probabilities, labels).metrics)


def predicted(files: Sequence[bytes], label_ids: Ids, asked: Sequence[bytes], classes: int) -> NDArray[np.float32]:
    """Probabilities [asked, classes] by a model that was trained on `files`."""
    channels, _ = suited(files)
    reader = ImageReader({"height": SIDE, "width": SIDE, "channels": channels, "resample": "bilinear"})
    found = np.zeros((len(asked), classes), np.float32)
    known = np.unique(label_ids)
    if len(known) == 1:
        found[:, known[0]] = 1
        return found
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=MAX_STEPS))
    with warnings.catch_warnings():
        # It is near enough to its best then.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(_flat(reader, files), label_ids)
    found[:, known] = model.predict_proba(_flat(reader, asked))
    return found


def _flat(reader: ImageReader, files: Sequence[bytes]) -> NDArray[np.float32]:
    return np.stack([reader.pixels(data).reshape(-1) for data in files]).astype(np.float32)
