"""Metrics that tasks share. One name means one thing wherever it stands."""

from __future__ import annotations

from kaon.tasks.base import Metric

ACCURACY = Metric("accuracy", "accuracy", "Share of the rows whose predicted class is the true one.")
PRECISION = Metric("precision", "precision", "Of the rows predicted as a class, the share that are; weighted by rows.")
RECALL = Metric("recall", "recall", "Of the rows of a class, the share predicted as it; weighted by rows.")
F1 = Metric("f1", "F1", "Harmonic mean of precision and recall of each class; weighted by rows.")
MACRO_F1 = Metric(
    "macroF1",
    "macro-F1",
    "Mean of the F1 of all classes, each counting alike. A class without rows and without predictions counts as 0.",
)
ECE = Metric(
    "ece",
    "calibration error",
    "Expected calibration error: distance between confidence and accuracy, over 15 bins of equal width.",
    better="lower",
)

CLASSIFICATION = (ACCURACY, MACRO_F1, PRECISION, RECALL, F1, ECE)
"""Of every task whose labels are classes."""
