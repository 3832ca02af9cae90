"""`kaon ask`: what is sent for a text or a row, what is said of a wrong one, and how answers read."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from cli_objects import DIGEST, NOW, dataset, deployment, run
from rich.console import Console

from kaon.api.modeldeployment import Batching, Revision, ServedModelReference
from kaon.api.signature import TEXT_SIGNATURE, Signature, TensorSpec
from kaon.cli import main
from kaon.cli.ask import Prediction, ask
from kaon.cli.cluster import Answer
from kaon.cli.errors import CliError
from kaon.cli.question import request_of


def column(name: str, datatype: str, content: Any = None) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=[-1, 1], optional=True, content=content)


TABLE = Signature(
    inputs=[column("age", "FP64"), column("job", "BYTES"), column("since", "BYTES", "datetime"), column("a=b", "FP64")],
    outputs=[TensorSpec(name="prediction", datatype="FP64", shape=[-1, 1])],
)


def sent(*words: str, row: str | None = None) -> dict[str, Any]:
    """Column -> (datatype, value) of a request to the table's model."""
    inputs = request_of("m", TABLE, words, row)["inputs"]
    assert all(tensor["shape"] == [1, 1] for tensor in inputs)
    return {tensor["name"]: (tensor["datatype"], *tensor["data"]) for tensor in inputs}


def test_a_text_is_sent_as_it_is_written() -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["age=41"]}
    assert request_of("m", TEXT_SIGNATURE, ["age=41"], None) == {"inputs": [tensor]}


def test_columns_are_typed_by_the_signature_and_what_is_left_out_is_missing() -> None:
    assert sent("age=41", "job=a=b c", "since=2020-01-31") == {
        "age": ("FP64", 41.0), "job": ("BYTES", "a=b c"), "since": ("BYTES", "2020-01-31"),
    }  # fmt: skip
    assert sent("age=", "job=teacher", "since=") == {"job": ("BYTES", "teacher")}
    assert sent("a=b=-1e3") == {"a=b": ("FP64", -1000.0)}


def test_a_row_may_be_json_in_which_null_is_missing() -> None:
    told = sent(row='{"age": 41, "job": null, "since": "2020-01-31T12:00:00Z"}')
    assert told == {"age": ("FP64", 41), "since": ("BYTES", "2020-01-31T12:00:00Z")}


IMAGES = Signature(
    inputs=[TensorSpec(name="image", datatype="BYTES", shape=[-1, 1], content="image")], outputs=TEXT_SIGNATURE.outputs
)


def test_an_image_is_sent_as_base64() -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": ["/9j/"]}
    assert request_of("m", IMAGES, [], None, b"\xff\xd8\xff") == {"inputs": [tensor]}


@pytest.mark.parametrize(
    ("signature", "words", "image", "told"),
    [
        (IMAGES, ["a sentence"], None, "m reads one image"),
        (IMAGES, ["a sentence"], b"x", "m reads one image"),
        (IMAGES, [], None, "m reads one image"),
        (TEXT_SIGNATURE, [], b"x", "m reads texts, and no images"),
        (TABLE, [], b"x", "m reads rows of a table, and no images"),
    ],
)
def test_what_the_model_does_not_read_is_told(
    signature: Signature, words: list[str], image: bytes | None, told: str
) -> None:
    with pytest.raises(CliError) as caught:
        request_of("m", signature, words, None, image)
    assert str(caught.value) == told


COLUMNS = (
    "Its columns: age (a number), job (a string), since (a point in time in ISO 8601, such as 2020-01-31), "
    "a=b (a number)."
)


@pytest.mark.parametrize(
    ("words", "row", "message", "hint"),
    [
        (["agee=1"], None, "m reads no column 'agee'", COLUMNS),
        (["a sentence"], None, "m reads rows of a table, and 'a sentence' is no column=value", COLUMNS),
        (["age=1", "age=2"], None, "the column 'age' is given twice", COLUMNS),
        (["age=old"], None, "the column 'age' takes a number, and 'old' is none", ""),
        (["age=nan"], None, "the column 'age' takes a number, and NaN is none", ""),
        (
            ["since=soon"],
            None,
            "the column 'since' takes a point in time in ISO 8601, such as 2020-01-31, and \"soon\" is none",
            "",
        ),
        ([], None, "m needs the value of one column at least", COLUMNS),
        (["age="], None, "m needs the value of one column at least", COLUMNS),
        ([], '{"age": "41"}', "the column 'age' takes a number, and \"41\" is none", ""),
        ([], '{"age": true}', "the column 'age' takes a number, and true is none", ""),
        ([], '{"job": 7}', "the column 'job' takes a string, and 7 is none", ""),
        ([], '{"Age": 41}', "m reads no column 'Age'", COLUMNS),
        ([], "[41]", "the row is JSON, but no object", """Write --row '{"column": value}'."""),
        (["age=1"], "{}", "a row is given either as column=value or with --row, not both", ""),
    ],
)
def test_a_wrong_row_is_refused_before_it_is_sent(words: list[str], row: str | None, message: str, hint: str) -> None:
    with pytest.raises(CliError) as error:
        request_of("m", TABLE, words, row)
    assert (error.value.message, error.value.hint) == (message, hint)


@pytest.mark.parametrize(("words", "row"), [([], None), (["two", "words"], None), ([], "{}")])
def test_a_model_of_texts_takes_one_text(words: list[str], row: str | None) -> None:
    with pytest.raises(CliError, match="m reads one text, in quotes"):
        request_of("m", TEXT_SIGNATURE, words, row)


@dataclass
class Cluster:
    """The objects of a pipeline, and a model that answers."""

    outputs: list[dict[str, Any]]
    signature: Signature | None = None
    asked: list[Any] = field(default_factory=list)

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        spec = {"schema": {"label": {"name": "price"}}}
        revision = Revision(
            revision="aaaaaaaa",
            model_ref=ServedModelReference(kind="TrainingRun", name="r8"),
            server="triton",
            threads=1,
            batching=Batching(),
            artifact_uri="s3://a/b",
            artifact_digest=DIGEST,
            signature=self.signature,
            since=NOW,
            weight=100,
        )
        made: dict[str, dict[str, Any]] = {
            "ModelDeployment": deployment(reads=("TrainingRun", "r8"), stable=revision),
            "TrainingRun": run(),
            "Dataset": {**dataset(classes=[] if self.signature else ["acq", "earn"]), "spec": spec},
        }
        return made[kind]

    def request(self, method: str, path: str, body: Any) -> Answer:
        self.asked.append(body)
        return Answer(200, {"x-envoy-upstream-service-time": "3"}, json.dumps({"outputs": self.outputs}).encode())


def test_the_deployments_signature_decides_and_the_datasets_label_names_the_number() -> None:
    cluster = Cluster([{"name": "prediction", "data": [53.2]}], TABLE)
    found = ask(cluster, "demo", "r8", ["age=41"])  # type: ignore[arg-type]
    assert (found.label, found.probabilities, found.number, found.target) == (None, [], 53.2, "price")
    assert cluster.asked == [{"inputs": [{"name": "age", "datatype": "FP64", "shape": [1, 1], "data": [41.0]}]}]


def test_without_a_signature_a_text_is_asked_and_classes_have_their_names() -> None:
    outputs = [{"name": "label", "data": ["earn"]}, {"name": "probabilities", "data": [0.1, 0.9]}]
    found = ask(Cluster(outputs), "demo", "r8", ["oil prices rise"])  # type: ignore[arg-type]
    assert (found.label, found.number) == ("earn", None)
    assert found.probabilities == [("earn", 0.9), ("acq", 0.1)]


@pytest.mark.parametrize(
    ("prediction", "lines"),
    [
        (Prediction(None, [], 1234567.5, "price", 12.2, 3.0),
         ["price 1234568", "3 ms in the cluster, 12 ms there and back"]),
        (Prediction(None, [], 0.25, None, 12.2, None), ["0.25", "12 ms there and back"]),
        (Prediction("low", [("low", 0.75), ("high", 0.25)], None, "risk", 1, None),
         ["low", "   75.00%  low", "   25.00%  high", "1 ms there and back"]),
    ],
)  # fmt: skip
def test_an_answer_reads_as_a_number_or_as_classes(prediction: Prediction, lines: list[str]) -> None:
    output = io.StringIO()
    main.show_prediction(Console(file=output, width=80), prediction)
    assert output.getvalue().splitlines() == lines


HISTORY = Signature(
    inputs=[
        TensorSpec(name="history", datatype="BYTES", shape=[-1, -1], optional=True),
        TensorSpec(name="user", datatype="BYTES", shape=[-1, 1], optional=True),
    ],
    outputs=[
        TensorSpec(name="items", datatype="BYTES", shape=[-1, 3]),
        TensorSpec(name="scores", datatype="FP32", shape=[-1, 3]),
    ],
)


@pytest.mark.parametrize(
    ("words", "row", "tensors"),
    [
        (["history=50, 172,1"], None, {"history": ["50", "172", "1"]}),
        (["user=a,b"], None, {"user": ["a,b"]}),
        (["history=50", "user=u"], None, {"history": ["50"], "user": ["u"]}),
        ([], '{"history": ["a, b", "c"]}', {"history": ["a, b", "c"]}),
    ],
)
def test_a_history_is_a_list_of_names_and_a_user_is_one(
    words: list[str], row: str | None, tensors: dict[str, list[str]]
) -> None:
    assert request_of("films", HISTORY, words, row) == {
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [1, len(data)], "data": data} for name, data in tensors.items()
        ]
    }


@pytest.mark.parametrize(
    ("words", "row", "says"),
    [
        (["item=5"], None, "films reads history=… and user=…, and 'item=5' is neither"),
        ([], '{"item": "5"}', "films reads no 'item'; it reads history and user"),
        (["history="], None, "films needs one of history and user at least"),
        ([], '{"history": [1, 2]}', "'history' takes names, as strings"),
        ([], '{"user": 7}', "'user' takes a name, as strings"),
        (["50,172"], None, "and '50,172' is neither"),
    ],
)
def test_what_is_no_history_says_so(words: list[str], row: str | None, says: str) -> None:
    with pytest.raises(CliError, match=says):
        request_of("films", HISTORY, words, row)


def test_ranked_items_are_read_and_shown_with_their_scores() -> None:
    outputs = [{"name": "items", "data": ["181", "50", ""]}, {"name": "scores", "data": [2.5, 1.25, 0]}]
    found = ask(Cluster(outputs, HISTORY), "demo", "r8", ["user=7"])  # type: ignore[arg-type]
    assert found.items == [("181", 2.5), ("50", 1.25)] and (found.label, found.number) == (None, None)
    output = io.StringIO()
    main.show_prediction(Console(file=output, width=80), found)
    assert output.getvalue().splitlines()[:2] == ["         2.5  181", "        1.25  50"]


def test_ranked_items_without_scores_are_no_answer() -> None:
    with pytest.raises(CliError, match="not of the V2 protocol"):
        ask(Cluster([{"name": "items", "data": ["1"]}], HISTORY), "demo", "r8", ["user=7"])  # type: ignore[arg-type]
