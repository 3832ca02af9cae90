"""The plain model that every trained one is measured against: a linear support vector machine over TF-IDF.

It trains in seconds, and on texts whose words give the class away it is hard to beat (Joachims 1998; Wang and Manning
2012). Reads texts, returns classes; writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from kaon.api.evaluation import SimpleBaseline
from kaon.tasks.metrics import ECE
from kaon_jobs.data.words import are_unspaced
from kaon_jobs.measure.quality import Ids, quality

NAME = "linear SVM on TF-IDF"
MAX_ROWS = 200_000
"""Training rows that it learns from; more change it little, and take minutes."""
MAX_FEATURES = 300_000


def baseline(
    texts: Sequence[str], label_ids: Ids, asked: Sequence[str], true_ids: Ids, labels: list[str]
) -> SimpleBaseline:
    """Trains on `texts` and measures on `asked`. What asks for probabilities is not measured: it gives none."""
    predicted = linear_predictions(texts, label_ids, asked, seed=0)
    answers = np.eye(len(labels), dtype=np.float32)[predicted]
    found = quality(true_ids, answers, labels).metrics
    return SimpleBaseline(name=NAME, metrics={name: figure for name, figure in found.items() if name != ECE.name})


def linear_predictions(texts: Sequence[str], label_ids: Ids, asked: Sequence[str], seed: int) -> Ids:
    """The class of each text of `asked`, by a model trained on `texts`.

    Words and pairs of words count; in scripts that are written without spaces, one to three characters do.

    Args:
        label_ids: class of each text of `texts`, as index into the labels.
    """
    chosen = np.arange(len(texts))
    if len(texts) > MAX_ROWS:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(texts))[:MAX_ROWS])
    known = np.unique(label_ids[chosen])
    if len(known) == 1:
        return np.full(len(asked), known[0], dtype=np.int64)
    learnt = [texts[int(row)] for row in chosen]
    kind = {"analyzer": "char", "ngram_range": (1, 3)} if are_unspaced(learnt) else {"ngram_range": (1, 2)}
    vectorizer = TfidfVectorizer(
        **kind, sublinear_tf=True, max_features=MAX_FEATURES, dtype=np.float32, token_pattern=r"(?u)\b\w+\b"
    )
    try:
        features = vectorizer.fit_transform(learnt)
    except ValueError:
        # No text has a word: all that is left to know is which class is the largest.
        return np.full(len(asked), np.bincount(label_ids[chosen]).argmax(), dtype=np.int64)
    model = LinearSVC(random_state=seed).fit(features, label_ids[chosen])
    return np.asarray(model.predict(vectorizer.transform(asked)), dtype=np.int64)
