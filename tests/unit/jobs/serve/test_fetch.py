"""The init container of a server: what is fetched is verified, and what is laid out answers as recorded."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import yaml

from kaon.api.evaluation import Evaluation
from kaon.contract.jobspec import SPEC_VARIABLE
from kaon.contract.manifest import Column, GoldenExample, ModelCard
from kaon_jobs import main
from kaon_jobs.report.told import Source

from . import tiny, tinyimage, tinytable

SERVERS = ("triton", "torchserve")
FOLDER = {"triton": "repository/m/1", "torchserve": "store/m"}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What goes to the termination log."""
    found: list[str] = []
    monkeypatch.setattr(main, "write_termination_message", found.append)
    return found


def fetch(monkeypatch: pytest.MonkeyPatch, source: tiny.InputArtifact, target: Path, server: str) -> int:
    monkeypatch.setenv(SPEC_VARIABLE, tiny.job(source, target, server).model_dump_json(by_alias=True))
    return main.run("fetch", Source())


@pytest.mark.parametrize("server", SERVERS)
def test_the_laid_out_model_answers_as_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, server: str
) -> None:
    source = tiny.publish(tmp_path / "artifact")
    assert fetch(monkeypatch, source, target, server) == 0
    folder = target / FOLDER[server]
    # In a process of its own and without Kaon, as in a server.
    script = (
        "import json, sys; from pathlib import Path; from predictor import Predictor; p = Predictor(Path('.'));"
        "found = p.tensors(p.answers(json.loads(sys.argv[1])));"
        "print(json.dumps([found['label'].reshape(-1).tolist(), found['probabilities'].tolist()]))"
    )
    command = [sys.executable, "-c", script, json.dumps(tiny.TEXTS * 3)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    labels, probabilities = json.loads(done.stdout)
    recorded = tiny.expected(folder) * 3
    assert labels == [example.label for example in recorded]
    assert probabilities == [pytest.approx(example.answer, abs=1e-5) for example in recorded]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("kind", tinytable.KINDS)
def test_a_laid_out_model_of_a_table_answers_as_recorded_without_what_reads_texts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, server: str, kind: str
) -> None:
    write, described = tinytable.KINDS[kind]
    source = tiny.publish(tmp_path / "artifact", write=write, described=described)
    assert fetch(monkeypatch, source, target, server) == 0
    folder = target / FOLDER[server]
    script = (
        "import json, sys; from pathlib import Path; from predictor import Predictor; p = Predictor(Path('.'));"
        "found = p.answers([tuple(row) for row in json.loads(sys.argv[1])]).tolist();"
        "print(json.dumps([found, 'tokenizers' in sys.modules]))"
    )
    command = [sys.executable, "-c", script, json.dumps(tinytable.ROWS)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    answers, reads_texts = json.loads(done.stdout)
    assert answers == [pytest.approx(example.answer, rel=1e-5, abs=1e-5) for example in described(folder).golden]
    assert not reads_texts and not (folder / "text.py").exists()
    assert [example["row"] for example in tiny.golden_of(target)["examples"]] == [list(row) for row in tinytable.ROWS]


@pytest.mark.parametrize("server", SERVERS)
def test_a_laid_out_model_of_images_answers_as_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, server: str
) -> None:
    source = tiny.publish(tmp_path / "artifact", write=tinyimage.write_model, described=tinyimage.card)
    assert fetch(monkeypatch, source, target, server) == 0
    folder = target / FOLDER[server]
    script = (
        "import base64, json, sys; from pathlib import Path; from predictor import Predictor; p = Predictor(Path('.'));"
        "found = p.answers(p.read([base64.b64decode(text) for text in json.loads(sys.argv[1])])).tolist();"
        "print(json.dumps([found, 'tokenizers' in sys.modules, 'kaon_jobs' in sys.modules]))"
    )
    asked = [base64.b64encode(data).decode() for data in tinyimage.FILES]
    command = [sys.executable, "-c", script, json.dumps(asked)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    answers, *others = json.loads(done.stdout)
    assert answers == [pytest.approx(example.answer, abs=1e-5) for example in tinyimage.card(folder).golden]
    assert others == [False, False] and not (folder / "text.py").exists() and not (folder / "table.py").exists()
    assert [example["image"] for example in tiny.golden_of(target)["examples"]] == asked


def test_triton_is_told_of_an_image_as_a_string(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path) -> None:
    source = tiny.publish(tmp_path / "artifact", write=tinyimage.write_model, described=tinyimage.card)
    fetch(monkeypatch, source, target, "triton")
    config = (target / "repository/m/config.pbtxt").read_text().splitlines()
    assert 'input { name: "image" data_type: TYPE_STRING dims: [ 1 ] }' in config


def test_triton_is_told_of_a_column_as_an_input_that_may_be_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path
) -> None:
    write, described = tinytable.KINDS["number"]
    fetch(monkeypatch, tiny.publish(tmp_path / "artifact", write=write, described=described), target, "triton")
    config = (target / "repository/m/config.pbtxt").read_text().splitlines()
    assert [line for line in config if line.startswith(("input", "output"))] == [
        'input { name: "age" data_type: TYPE_FP64 dims: [ 1 ] optional: true }',
        'input { name: "the job, \\"held\\" 汉 \U0001f600" data_type: TYPE_STRING dims: [ 1 ] optional: true }',
        'input { name: "since" data_type: TYPE_STRING dims: [ 1 ] optional: true }',
        'output { name: "prediction" data_type: TYPE_FP64 dims: [ 1 ] }',
    ]


def test_a_row_that_no_request_can_hold_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path
) -> None:
    def described(folder: Path, *, golden: bool) -> ModelCard:
        examples = [GoldenExample(row=row, answer=[1.0]) for row in ([None, 2.0], [None, None])]
        columns = [Column(name=name, type="number") for name in ("a", "b")]
        return tinytable.card(folder, [], golden=golden).model_copy(update={"columns": columns, "golden": examples})

    source = tiny.publish(tmp_path / "artifact", write=tinytable.KINDS["number"][0], described=described)
    assert fetch(monkeypatch, source, target, "triton") == 0
    assert [example["row"] for example in tiny.golden_of(target)["examples"]] == [[None, 2.0]]


def test_a_model_that_reads_arrays_is_not_served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, said: list[str]
) -> None:
    def described(folder: Path, *, golden: bool) -> ModelCard:
        return tiny.card(folder, golden=golden).model_copy(update={"max_sequence_length": None})

    source = tiny.publish(tmp_path / "artifact", described=described)
    assert fetch(monkeypatch, source, target, "triton") == 64
    assert said[0].startswith("ArtifactNotServable: ") and "reads arrays" in said[0]


@pytest.mark.parametrize("server", SERVERS)
def test_what_an_earlier_attempt_left_is_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, server: str
) -> None:
    source = tiny.publish(tmp_path / "artifact")
    (target / ".fetched").mkdir()
    (target / "leftover").write_text("x")
    assert fetch(monkeypatch, source, target, server) == 0
    before = sorted(path for path in target.rglob("*"))
    assert fetch(monkeypatch, source, target, server) == 0
    assert sorted(path for path in target.rglob("*")) == before
    assert not (target / "leftover").exists() and not (target / ".fetched").exists()


def test_a_file_with_other_bytes_ends_with_64_and_both_digests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, said: list[str]
) -> None:
    source = tiny.publish(tmp_path / "artifact")
    model = tmp_path / "artifact" / ("1" * 64) / "attempt-1" / "model.onnx"
    recorded = hashlib.sha256(model.read_bytes()).hexdigest()
    data = bytearray(model.read_bytes())
    data[10] ^= 1
    model.write_bytes(data)
    assert fetch(monkeypatch, source, target, "triton") == 64
    (message,) = said
    assert message.startswith("ArtifactCorrupted: ") and "attempt-1/model.onnx" in message
    assert recorded in message and hashlib.sha256(data).hexdigest() in message
    assert not (target / "repository").exists()


def test_a_manifest_with_other_bytes_ends_with_64(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, said: list[str]
) -> None:
    source = tiny.publish(tmp_path / "artifact")
    manifest = tmp_path / "artifact" / ("1" * 64) / "kaon.json"
    manifest.write_text(manifest.read_text().replace("attempt-1", "attempt-2"))
    assert fetch(monkeypatch, source, target, "triton") == 64
    assert said[0].startswith("ArtifactCorrupted: ") and source.digest in said[0]


@pytest.mark.parametrize("server", SERVERS)
def test_every_recorded_answer_is_laid_out_the_empty_and_the_longest_text_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, server: str
) -> None:
    assert fetch(monkeypatch, tiny.publish(tmp_path / "artifact"), target, server) == 0
    laid_out = [example["text"] for example in tiny.golden_of(target)["examples"]]
    assert laid_out == tiny.TEXTS
    assert "" in laid_out and max(len(text.split()) for text in laid_out) == tiny.MAX_LENGTH


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_is_told_what_it_counts_and_by_what_it_knows_the_probe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, server: str
) -> None:
    figures = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    evaluated = Evaluation(split="test", rows=2, per_class=[{"label": name, **figures} for name in ("trade", "acq")])
    source = tiny.publish(tmp_path / "artifact", evaluation=evaluated)
    assert fetch(monkeypatch, source, target, server) == 0
    first = json.loads((target / FOLDER[server] / "serving.json").read_text())
    assert (first["counter"], first["counted"]) == ("kaon_predictions_total", ["acq", "%other", "trade"])
    assert first["probe"] == tiny.golden_of(target)["id"] and len(first["probe"]) == 32
    assert fetch(monkeypatch, source, target, server) == 0
    assert tiny.golden_of(target)["id"] != first["probe"]


def test_torchserve_is_told_of_the_counter_in_a_file_that_it_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path
) -> None:
    fetch(monkeypatch, tiny.publish(tmp_path / "artifact"), target, "torchserve")
    lines = (target / "config.properties").read_text().splitlines()
    (file,) = [line.removeprefix("metrics_config=") for line in lines if line.startswith("metrics_config=")]
    told = yaml.safe_load(Path(file).read_text())
    assert told["model_metrics"]["counter"] == [
        {"name": "kaon_predictions_total", "unit": "Count", "dimensions": ["model", "label"]}
    ]
    assert "ts_inference_requests_total" in [item["name"] for item in told["ts_metrics"]["counter"]]


def test_torchserve_leaves_the_reading_of_json_to_the_handler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path
) -> None:
    fetch(monkeypatch, tiny.publish(tmp_path / "artifact"), target, "torchserve")
    assert "decode_input_request=false" in (target / "config.properties").read_text().splitlines()


def test_a_model_without_recorded_answers_is_not_served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, said: list[str]
) -> None:
    source = tiny.publish(tmp_path / "artifact", golden=False)
    assert fetch(monkeypatch, source, target, "triton") == 64
    assert said[0].startswith("ArtifactNotServable: ") and "spec.rerun" in said[0]


def test_triton_is_told_of_batches_and_classes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path) -> None:
    fetch(monkeypatch, tiny.publish(tmp_path / "artifact"), target, "triton")
    config = (target / "repository/m/config.pbtxt").read_text()
    assert "max_batch_size: 4" in config and "dims: [ 3 ]" in config
    assert "max_queue_delay_microseconds: 1500" in config
    assert tiny.golden_of(target)["url"] == "http://127.0.0.1:8000/v2/models/m/infer"


def test_torchserve_keeps_its_management_port_to_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path
) -> None:
    fetch(monkeypatch, tiny.publish(tmp_path / "artifact"), target, "torchserve")
    lines = (target / "config.properties").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    assert settings["management_address"] == "http://127.0.0.1:8081"
    model = json.loads(settings["models"])["m"]["1.0"]
    assert (model["batchSize"], model["maxBatchDelay"], model["maxWorkers"]) == (4, 2, 1)


def test_fetching_needs_none_of_the_training_libraries() -> None:
    script = "import sys; import kaon_jobs.main, kaon_jobs.programs.fetch; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "onnx", "pyarrow", "sklearn", "numpy", "onnxruntime"}
    assert heavy.isdisjoint(done.stdout.split())


def test_a_model_that_reads_a_file_outside_of_its_folder_is_never_laid_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, said: list[str]
) -> None:
    def outside(model: onnx.ModelProto) -> None:
        table = model.graph.initializer[0]
        table.ClearField("raw_data")
        table.data_location = onnx.TensorProto.EXTERNAL
        entry = table.external_data.add()
        entry.key, entry.value = "location", "../../../../etc/hostname"

    source = tiny.publish(tmp_path / "artifact", change=outside)
    assert fetch(monkeypatch, source, target, "triton") == 64
    assert said[0].startswith(
        "ModelDataOutside: model.onnx reads its weights from '../../../../etc/hostname', which lies"
    )
    assert not (target / "golden.json").exists()


@pytest.mark.parametrize("judged", ["sha256:" + "0" * 64, None])
def test_a_model_is_served_with_the_evaluation_that_the_gates_judged_and_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Path, said: list[str], judged: str | None
) -> None:
    source = tiny.publish(tmp_path / "artifact")
    told = tiny.job(source, target, "triton")
    work = told.work.model_copy(update={"evaluation": judged})
    monkeypatch.setenv(SPEC_VARIABLE, told.model_copy(update={"work": work}).model_dump_json(by_alias=True))
    assert main.run("fetch", Source()) == (0 if judged is None else 64)
    assert (said == []) if judged is None else said[0].startswith("EvidenceMismatch: the gates judged")
