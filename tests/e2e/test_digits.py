"""The example with images, from an archive of PNG files to served answers, on both servers."""

from __future__ import annotations

import base64
import io
import tempfile
import urllib.error
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from demo import steps
from installation import Installation
from kube import Object
from PIL import Image
from sklearn.datasets import load_digits

NAMESPACE, NAME = "e2e-images", "digits"
ASKED = 200
LIMITS = {"dataset": 180, "trainingrun": 900, "compressionjob": 1800, "modeldeployment": 300}
# The first test waits for the pipeline.
pytestmark = pytest.mark.timeout(3600)


def write_digits(file: Path) -> None:
    """The archive as the example's README has it written."""
    digits: Any = load_digits()
    with zipfile.ZipFile(file, "w") as archive:
        for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            picture = io.BytesIO()
            Image.fromarray((pixels * 15.9375).astype("uint8")).save(picture, "PNG")
            archive.writestr(f"digits/{label}/{number:04}.png", picture.getvalue())


@pytest.fixture(scope="module")
def digits(kaon: Installation) -> Mapping[str, Object]:
    """The example's resources, by kind, each Ready."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "digits.zip"
        write_digits(archive)
        kaon.upload({"raw/images/digits.zip": archive}, NAMESPACE)
    manifests = steps.example(kaon.root / "examples" / "images", NAMESPACE)
    kaon.kube("apply", "-n", NAMESPACE, "-f", "-", stdin=manifests)
    return {kind: kaon.kube.until_ready(kind, NAME, NAMESPACE, timeout=LIMITS[kind]) for kind in LIMITS}


def test_the_plain_model_stands_beside_the_trained_one(digits: Mapping[str, Object]) -> None:
    evaluation = digits["trainingrun"]["status"]["evaluation"]
    assert evaluation["baseline"]["name"] == "logistic regression on 16 x 16 pixels"
    assert evaluation["metrics"]["accuracy"]["value"] > evaluation["baseline"]["metrics"]["accuracy"]["value"] - 0.02


def test_the_pages_show_pictures(kaon: Installation, digits: Mapping[str, Object]) -> None:
    uris = [digits[kind]["status"]["artifact"]["uri"] for kind in ("dataset", "trainingrun")]
    data, training = (
        'src="data:image/png;base64,' in kaon.read(kaon.file_uri(uri, "report.html")).decode() for uri in uris
    )
    # The page of a training shows its mistakes, where there are some.
    assert data and training == (digits["trainingrun"]["status"]["evaluation"]["metrics"]["accuracy"]["value"] < 1)


def test_the_compression_gives_a_verdict_with_evidence(digits: Mapping[str, Object]) -> None:
    status = digits["compressionjob"]["status"]
    assert status["verdict"] in ("Accepted", "Inconclusive") and status["sizeRatio"] >= 2


@pytest.mark.parametrize("server", ["triton", "torchserve"])
def test_both_servers_answer_as_the_model_did_in_its_evaluation(
    kaon: Installation, digits: Mapping[str, Object], server: str
) -> None:
    kaon.serve_by(NAME, NAMESPACE, server)
    dataset, model = digits["dataset"]["status"], digits["compressionjob"]["status"]["artifact"]["uri"]
    files = {row["row_id"]: row["image"] for row in kaon.table(dataset["artifact"]["uri"], "test.parquet")}
    predicted = kaon.table(model, "predictions-test.parquet")[:ASKED]
    answers = kaon.ask_images(NAME, NAMESPACE, [files[row["row_id"]] for row in predicted])
    expected = [dataset["classes"][row["predicted_id"]] for row in predicted]
    assert [answer["label"] for answer in answers] == [[label] for label in expected]


@pytest.mark.parametrize("server", ["triton", "torchserve"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no base64", "inputs[0].data[0] is no base64."),
        (base64.b64encode(b"no image").decode(), "Image 0 of the request: the file is neither JPEG nor PNG."),
    ],
)
def test_what_is_no_image_is_the_clients_error(
    kaon: Installation, digits: Mapping[str, Object], server: str, text: str, told: str
) -> None:
    kaon.serve_by(NAME, NAMESPACE, server)
    with pytest.raises(urllib.error.HTTPError) as caught:
        kaon.ask_rows(NAME, NAMESPACE, [{"image": text}])
    assert caught.value.code == 400 and told in caught.value.read().decode()
