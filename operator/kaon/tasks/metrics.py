"""Metrics that tasks share. One name means one thing wherever it stands."""

from __future__ import annotations

import math

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

AUC = Metric(
    "auc",
    "AUC",
    "Area under the ROC curve: how often a row of a class is given a larger probability of it than a row of another. "
    "Of more than two classes the mean over all classes, each against the others.",
)
LOG_LOSS = Metric(
    "logLoss",
    "log loss",
    "Mean of the negative natural logarithm of the probability of the true class.",
    better="lower",
    most=math.inf,
)
RMSE = Metric(
    "rmse",
    "RMSE",
    "Root of the mean squared error, in the unit of the label.",
    better="lower",
    most=math.inf,
)
MAE = Metric("mae", "MAE", "Mean absolute error, in the unit of the label.", better="lower", most=math.inf)
R2 = Metric(
    "r2",
    "R²",
    "Share of the variance of the label that is explained; below 0 when the mean of all rows would be a better answer.",
    least=-math.inf,
)

RECALL_AT_10 = Metric(
    "recallAt10",
    "recall@10",
    "Of the items that a user took, the share among the first 10 of all items, seen ones left out; of more than 10 at "
    "most 10 count. Mean over users.",
)
NDCG_AT_10 = Metric(
    "ndcgAt10",
    "nDCG@10",
    "Normalised discounted cumulative gain of the first 10 of all items, seen ones left out. Mean over users.",
)
MRR_AT_10 = Metric(
    "mrrAt10",
    "MRR@10",
    "One over the place of the first item that the user took, 0 when none is among the first 10. Mean over users.",
)

RANKING = (NDCG_AT_10, RECALL_AT_10, MRR_AT_10)
"""Of every task that ranks items."""
REGRESSION = (RMSE, MAE, R2)
"""Of every task that predicts a number."""
CLASSIFICATION = (ACCURACY, MACRO_F1, PRECISION, RECALL, F1, ECE)
"""Of every task whose labels are classes."""
