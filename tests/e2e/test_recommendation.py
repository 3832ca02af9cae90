"""The example with interactions, from raw file to served answer, on both servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from demo import steps
from installation import Installation
from kube import Object

from kaon_jobs.measure.agreement import ranking_difference

NAMESPACE = "e2e-recommendation"
NAME = "films"
ASKED = 200
TOLERANCE = 1e-4
"""Of a score, beside the largest one of its row. Items whose scores are as close may change places."""
LIMITS = {"dataset": 180, "trainingrun": 1500, "compressionjob": 1500, "modeldeployment": 300}
# The first test waits for the pipeline.
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def films(kaon: Installation) -> Mapping[str, Object]:
    """The example's resources, Ready, by kind."""
    kaon.upload(kaon.example_interactions(), NAMESPACE)
    manifests = steps.example(kaon.root / "examples" / "recommendation", NAMESPACE)
    kaon.kube("apply", "-n", NAMESPACE, "-f", "-", stdin=manifests)
    return {kind: kaon.kube.until_ready(kind, NAME, NAMESPACE, timeout=LIMITS[kind]) for kind in LIMITS}


def test_the_status_tells_users_and_items(films: Mapping[str, Object]) -> None:
    quality = films["dataset"]["status"]["quality"]
    assert (quality["users"], quality["leakage"]) == (943, 0)
    assert 1000 < quality["items"] < 1682


def test_popular_films_stand_beside_the_trained_model(films: Mapping[str, Object]) -> None:
    evaluation = films["trainingrun"]["status"]["evaluation"]
    popular = evaluation["baseline"]["metrics"]
    assert set(popular) == set(evaluation["metrics"]) == {"ndcgAt10", "recallAt10", "mrrAt10"}
    assert evaluation["metrics"]["ndcgAt10"]["value"] > popular["ndcgAt10"]["value"]


def test_the_compression_gives_a_verdict_with_evidence(kaon: Installation, films: Mapping[str, Object]) -> None:
    status = films["compressionjob"]["status"]
    assert status["verdict"] in ("Accepted", "Inconclusive")
    assert status["sizeRatio"] > 1
    assert "Verdict" in kaon.read(kaon.file_uri(status["artifact"]["uri"], "report.html")).decode()


@pytest.mark.parametrize("server", ["triton", "torchserve"])
def test_both_servers_rank_as_the_model_did_in_its_evaluation(
    kaon: Installation, films: Mapping[str, Object], server: str
) -> None:
    kaon.serve_by(NAME, NAMESPACE, server)
    dataset, made = (films[kind]["status"]["artifact"]["uri"] for kind in ("dataset", "compressionjob"))
    names = [row["item"] for row in kaon.table(dataset, "items.parquet")]
    histories = {row["row_id"]: row["history"] for row in kaon.table(dataset, "test.parquet")}
    found = kaon.table(made, "predictions-test.parquet")[:ASKED]
    asked = [[names[number] for number in histories[row["row_id"]]] for row in found]
    answers = kaon.ask_histories(NAME, NAMESPACE, asked)
    same = [agrees(answer, row, names) for answer, row in zip(answers, found, strict=True)]
    assert len(same) == ASKED and sum(same) / len(same) >= 0.995
    for answer, history in zip(answers, asked, strict=True):
        assert len(set(answer["items"])) == 10 and not set(answer["items"]) & set(history)


def agrees(answer: Object, row: Object, names: Sequence[str]) -> bool:
    """Whether a server's answer is the ranking that the evaluation has of a row."""
    recorded = [names[number] for number in row["items"]]
    tolerance = TOLERANCE * max(row["scores"])
    apart = ranking_difference(answer["items"], answer["scores"], recorded, row["scores"], tolerance)
    return apart <= tolerance


def test_an_unknown_user_gets_what_is_popular(kaon: Installation, films: Mapping[str, Object]) -> None:
    dataset = films["dataset"]["status"]["artifact"]["uri"]
    popular = [row["item"] for row in kaon.table(dataset, "items.parquet")][:10]
    (answer,) = kaon.ask_users(NAME, NAMESPACE, ["nobody"])
    assert answer["items"] == popular
