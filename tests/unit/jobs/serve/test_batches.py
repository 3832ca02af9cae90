"""A batch is of different clients: what one of them sends is no harm to the others."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pictures import file_of
from PIL import Image
from tokenizers import Regex, Tokenizer, pre_tokenizers

from kaon.contract.answers import COUNTER
from kaon_jobs.runtime import v2

from . import tiny, tinyimage, tinytable


class Counter:
    """A metric of TorchServe, with two labels."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], int] = {}

    def get_metric(self, name: str) -> Counter:
        assert name == COUNTER
        return self

    def add_or_update(self, value: int, labels: list[str]) -> None:
        assert value >= 0
        self.counts[tuple(labels)] = self.counts.get(tuple(labels), 0) + value


class Asked:
    """What TorchServe gives a handler beside the requests, and what the handler says of each."""

    def __init__(self, folder: Path) -> None:
        self.metrics = Counter()
        self.system_properties = {"model_dir": str(folder)}
        self.model_name = "m"
        self.status: dict[int, int] = {}

    def get_request_header(self, index: int, name: str) -> str | None:
        return None

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.status[idx] = code

    def set_response_content_type(self, index: int, value: str) -> None:
        assert value == "application/json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A laid-out model that fails on the text "beyond", whose number its table has not."""
    tiny.write_model(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["beyond"] = 1000
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    settings = tiny.settings_of(tiny.card(tmp_path, golden=False), max_batch_size=8)
    (tmp_path / "serving.json").write_text(json.dumps(settings))
    return tmp_path


@pytest.fixture
def handler(folder: Path) -> Any:
    """The handler as TorchServe loads it."""
    made = tiny.siblings("torchserve_handler").Handler()
    made.initialize(Asked(folder))
    return made


def predictor(folder: Path) -> Any:
    return tiny.siblings("predictor").Predictor(folder)


def request(*texts: str, **fields: Any) -> bytes:
    inputs = [{"name": "text", "shape": [len(texts), 1], "datatype": "BYTES", "data": texts}]
    return json.dumps({"inputs": inputs, **fields}).encode()


GOOD = request("profit")
SIGNATURE = v2.Signature(**tiny.SIGNATURE.wire())
HOSTILE = {
    "nested lists": b"[" * 500_000,
    "nested lists that are closed": b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested objects": b'{"a":' * 200_000,
    "nested parameters": GOOD[:-1] + b', "parameters": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "values without end": b'{"inputs": [' + b"[]," * 3_000_000 + b"[]]}",
    "quotation marks without end": b'"' + b'\\"' * 1_000_000,
    "no bytes": "a text",
    "a number": 10**12,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_body_that_is_no_request_fails_alone(handler: Any, folder: Path, kind: str) -> None:
    asked = Asked(folder)
    answers = handler.handle([{"body": GOOD}, {"body": HOSTILE[kind]}, {"data": GOOD}], asked)
    assert asked.status == {1: 400}
    assert json.loads(answers[1])["error"].endswith(".")
    good = [json.loads(answers[index])["outputs"][0]["data"] for index in (0, 2)]
    assert good[0] == good[1] and len(good[0]) == 1


def test_texts_that_the_model_fails_on_fail_alone(handler: Any, folder: Path) -> None:
    asked = Asked(folder)
    answers = handler.handle([{"body": GOOD}, {"body": request("beyond")}, {"body": GOOD}], asked)
    assert asked.status == {1: 500}
    assert json.loads(answers[1]) == {"error": "The model fails on this request. Send another."}
    assert answers[0] == answers[2] and json.loads(answers[0])["outputs"]


def test_answers_are_counted_by_class_but_not_those_that_are_none_nor_those_to_the_probe(
    handler: Any, folder: Path
) -> None:
    asked, texts = Asked(folder), ("profit", "tariff", "shares", "dollar", "company")
    probed = request("profit", id=tiny.PROBE)
    bodies = [request(*texts, id="7"), probed, request("beyond"), b"{", GOOD]
    answers = handler.handle([{"body": body} for body in bodies], asked)
    assert asked.status == {2: 500, 3: 400} and json.loads(answers[1])["id"] == tiny.PROBE
    labels = [label for index in (0, 4) for label in json.loads(answers[index])["outputs"][0]["data"]]
    assert len(set(labels)) > 1
    assert asked.metrics.counts == {("m", label): labels.count(label) for label in labels}


def test_a_class_that_was_never_answered_is_counted_as_0(folder: Path) -> None:
    asked = Asked(folder)
    tiny.siblings("torchserve_handler").Handler().initialize(asked)
    assert asked.metrics.counts == {("m", label): 0 for label in tiny.LABELS}


def test_classes_without_a_counter_of_their_own_are_counted_together(folder: Path) -> None:
    settings = json.loads((folder / "serving.json").read_text())
    (folder / "serving.json").write_text(json.dumps({**settings, "counted": ["%other", "earn", "%other"]}))
    served = predictor(folder)
    answers = np.eye(3, dtype=np.float32)
    assert served.counts([("1", answers), (None, answers[:1])]) == {"%other": 3, "earn": 1}
    assert served.counts([(tiny.PROBE, answers)]) == {} and served.counts([]) == {}


def test_a_text_on_which_the_tokenizer_panics_fails_alone(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"(?:x+x+)+y|\s+"), "removed")
    tokenizer.save(str(folder / "tokenizer.json"))
    rows = predictor(folder).each([["profit"], ["x" * 60], ["shares"]])
    assert type(rows[1]).__name__ == "PanicException"
    assert not isinstance(rows[0], BaseException) and not isinstance(rows[2], BaseException)


def test_answers_of_a_batch_are_each_requests_own(folder: Path) -> None:
    served = predictor(folder)
    rows = served.each([["profit", "tariff"], ["beyond"], ["shares"]])
    assert isinstance(rows[1], BaseException)
    alone = [served.answers(texts) for texts in (["profit", "tariff"], ["shares"])]
    assert rows[0].tolist() == alone[0].tolist() and rows[2].tolist() == alone[1].tolist()


@pytest.fixture(params=tinytable.KINDS)
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A laid-out model of a table."""
    write, described = tinytable.KINDS[request.param]
    write(tmp_path)
    (tmp_path / "serving.json").write_text(json.dumps(tiny.settings_of(described(tmp_path), max_batch_size=8)))
    return tmp_path


def row(**columns: Any) -> bytes:
    kinds = {"age": "FP64", "since": "BYTES"}
    inputs = [
        {"name": name, "shape": [1, 1], "datatype": kinds[name], "data": [value]} for name, value in columns.items()
    ]
    return json.dumps({"inputs": inputs}).encode()


def test_a_row_of_one_client_that_is_wrong_fails_alone(table: Path) -> None:
    handler, asked = tiny.siblings("torchserve_handler").Handler(), Asked(table)
    handler.initialize(asked)
    bodies = [row(age=41), row(since="soon"), row(age=None), row(since="2020-01-31", age=41), row(since="")]
    answers = [json.loads(answer) for answer in handler.handle([{"body": body} for body in bodies], asked)]
    assert asked.status == {1: 400, 2: 400}
    assert answers[1]["error"].startswith("inputs[0].data[0] is no point in time. Send 'since' in ISO 8601")
    wanted = tiny.siblings("predictor").Predictor(table)
    assert sum(asked.metrics.counts.values()) == (3 if wanted.labels else 0)
    for index, values in ((0, (41.0, None, None)), (3, (41.0, None, "2020-01-31")), (4, (None, None, None))):
        tensors = {item["name"]: item["data"] for item in answers[index]["outputs"]}
        found = wanted.tensors(wanted.answers([values]))
        assert tensors == {name: array.reshape(-1).tolist() for name, array in found.items()}


def test_an_answer_that_json_has_no_word_for_fails_alone(table: Path) -> None:
    served = predictor(table)
    served._session = Overflowing(served._session)
    # Within what a request may hold, and too large once it is multiplied.
    rows = served.each([[(value, None, None)] for value in (1.0, 3e38, 2.0)])
    assert isinstance(rows[1], ArithmeticError)
    assert all(np.isfinite(rows[index]).all() for index in (0, 2))


class Overflowing:
    """A session whose graph multiplies by ten."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, names: list[str], feed: dict[str, Any]) -> Any:
        with np.errstate(over="ignore"):
            return self._session.run(names, {name: values * np.float32(10) for name, values in feed.items()})


def test_metadata_tells_the_columns(table: Path) -> None:
    served = predictor(table)
    told = tiny.siblings("v2").metadata("m", "p", served.signature)
    assert told["inputs"][0] == {"name": "age", "datatype": "FP64", "shape": [-1, 1]}
    assert [item["name"] for item in told["inputs"]] == [column.name for column in tinytable.COLUMNS]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A laid-out model of images."""
    tinyimage.write_model(tmp_path)
    settings = tiny.settings_of(tinyimage.card(tmp_path), max_batch_size=8)
    (tmp_path / "serving.json").write_text(json.dumps(settings))
    return tmp_path


def image(*files: bytes) -> bytes:
    data = [base64.b64encode(one).decode() for one in files]
    return json.dumps(
        {"inputs": [{"name": "image", "shape": [len(files), 1], "datatype": "BYTES", "data": data}]}
    ).encode()


UNREAD = {
    b"no image": "Image 1 of the request: the file is neither JPEG nor PNG. Save it as one of these.",
    tinyimage.FILES[3][
        :400
    ]: "Image 1 of the request: the file is damaged in its header. Send a whole JPEG or PNG file.",
    file_of(Image.new("1", (6000, 6000))): (
        "Image 1 of the request: the file has 6,000 x 6,000 pixels, and 25,000,000 is the limit. Scale it down."
    ),
}


@pytest.mark.parametrize("data", UNREAD)
def test_an_image_of_one_client_that_cannot_be_decoded_fails_alone_on_both_servers(images: Path, data: bytes) -> None:
    good, bad = image(*tinyimage.FILES), image(tinyimage.FILES[0], data)
    handler, asked = tiny.siblings("torchserve_handler").Handler(), Asked(images)
    handler.initialize(asked)
    answered = [json.loads(answer) for answer in handler.handle([{"body": good}, {"body": bad}, {"body": good}], asked)]
    assert asked.status == {1: 400} and answered[1] == {"error": UNREAD[data]}
    for index in (0, 2):
        tensors = {item["name"]: item["data"] for item in answered[index]["outputs"]}
        assert tensors["probabilities"] == pytest.approx(tinyimage.answers(tinyimage.FILES).reshape(-1), abs=1e-6)

    with triton(images) as model:
        found = model.execute([Tensors(good), Tensors(bad), Tensors(good)])
        counted = sum(counter.count for counter in model._counters.values())
    assert [one.error and (str(one.error), one.error.code) for one in found] == [None, (UNREAD[data], "INVALID"), None]
    assert counted == 2 * len(tinyimage.FILES) == sum(asked.metrics.counts.values())


class Tensors:
    """A request as Triton gives it to a python model."""

    def __init__(self, body: bytes) -> None:
        (tensor,) = json.loads(body)["inputs"]
        self.name = tensor["name"]
        self.values = np.array([value.encode() for value in tensor["data"]], dtype=np.object_).reshape(-1, 1)

    def as_numpy(self) -> Any:
        """The values."""
        return self.values

    def request_id(self) -> str:
        """As a client gave it."""
        return ""


class Family:
    """A family of counters as the server's own module has it."""

    COUNTER = "counter"

    def __init__(self, name: str, about: str, kind: str) -> None:
        assert (name, kind) == (COUNTER, self.COUNTER) and about

    def Metric(self, labels: dict[str, str]) -> Any:
        """One of its counters."""
        made = SimpleNamespace(labels=labels, count=0)
        made.increment = lambda value: setattr(made, "count", made.count + value)
        return made


class TritonError(Exception):
    """As the server's own module has it."""

    INVALID_ARG, INTERNAL = "INVALID", "INTERNAL"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def triton(folder: Path) -> Iterator[Any]:
    """The python model as Triton loads it, over a stand-in for the server's own module."""
    stand_in = SimpleNamespace(
        get_input_tensor_by_name=lambda request, name: request if request.name == name else None,
        TritonError=TritonError,
        MetricFamily=Family,
        Tensor=lambda name, values: (name, values),
        InferenceResponse=lambda output_tensors, error=None: SimpleNamespace(tensors=output_tensors, error=error),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "triton_python_backend_utils", stand_in)
        patch.delitem(sys.modules, "triton_model", raising=False)
        model = tiny.siblings("triton_model").TritonPythonModel()
        place = {"model_repository": str(folder.parent), "model_version": folder.name}
        model.initialize({**place, "model_name": "m"})
        yield model


def test_an_image_that_is_no_base64_is_refused_before_it_is_decoded(images: Path) -> None:
    body = image(b"xx").replace(b"eHg=", b"eHg")
    handler, asked = tiny.siblings("torchserve_handler").Handler(), Asked(images)
    handler.initialize(asked)
    (answered,) = handler.handle([{"body": body}], asked)
    assert asked.status == {0: 400} and json.loads(answered)["error"].startswith("inputs[0].data[0] is no base64.")


@pytest.mark.parametrize("depth", [31, 32, 33, 100, 500])
def test_depth_is_counted_outside_of_strings(depth: int) -> None:
    text = "[" * 10_000 + '"' + "{" * 10_000
    assert v2.parse(request(text), SIGNATURE, 1).rows == [text]
    body = b"[" * depth + b"]" * depth
    with pytest.raises(v2.Refusal, match="nests deeper than 32" if depth > 32 else "expected an object"):
        v2.parse(body, SIGNATURE, 1)
