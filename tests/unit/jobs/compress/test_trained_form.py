"""Each technique of the trained form on a real, tiny encoder: it loads with from_pretrained and exports faithfully."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.trainers import UnigramTrainer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from kaon.api.compressionjob import Step
from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact
from kaon_jobs.compress.families import encoder
from kaon_jobs.compress.families.pieces import kept_tokens, remapped, token_ids
from kaon_jobs.compress.techniques.registry import technique_of
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.data.splits import Rows, fetch_dataset, read_split
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE
from kaon_jobs.predict.onnx_text import BLOCK, OnnxTextModel, longest_of, token_rows

FUSION = {"optimize": "transformer-fusion"}
INT8 = {"quantize": {"scheme": "int8-dynamic"}}


class Shelf:
    """Keeps in memory, and counts."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        return self.kept.get(name)

    def write(self, name: str, data: bytes) -> None:
        self.kept[name] = data


@pytest.fixture(scope="module")
def splits(dataset: Result, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rows]:
    assert dataset.artifact is not None
    directory = tmp_path_factory.mktemp("data")
    fetch_dataset(InputArtifact(uri=dataset.artifact.uri, digest=dataset.artifact.digest), directory)
    return {"train": read_split(directory, "train"), "test": read_split(directory, "test")}


@pytest.fixture(scope="module")
def lessons(source: Path, splits: dict[str, Rows]) -> Lessons:
    return Lessons(splits["train"], 0, source, threads=1)


@pytest.fixture
def make(source: Path, lessons: Lessons, tmp_path: Path) -> Callable[..., Path]:
    """Applies steps in their order, exports where it must, and returns the directory of the last."""

    def apply(*steps: dict[str, Any], data: Lessons | None = None) -> Path:
        directory = source
        for wanted in steps:
            step = Step.model_validate(wanted)
            if not step.trains and not (directory / MODEL_FILE).exists():
                encoder.export(directory, lessons.draw(16))
            target = tmp_path / str(len(list(tmp_path.iterdir())))
            shutil.copytree(directory, target, ignore=shutil.ignore_patterns(MODEL_FILE, "*.parquet"))
            technique_of(step, "encoder").apply(directory, target, data or lessons)
            directory = target
        if not (directory / MODEL_FILE).exists():
            encoder.export(directory, lessons.draw(16))
        return directory

    return apply


def _accuracy(directory: Path, rows: Rows) -> float:
    found = OnnxTextModel(directory, 1).answers(rows.inputs).argmax(axis=1)
    return float(np.mean(found == rows.targets))


def _loads_and_answers_alike(directory: Path, texts: list[str]) -> Any:
    """The directory as anybody's from_pretrained reads it; compared with its exported form."""
    model = AutoModelForSequenceClassification.from_pretrained(directory, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    length = json.loads((directory / CARD_FILE).read_text())["maxSequenceLength"]
    inputs = tokenizer(
        texts, padding=True, truncation=True, max_length=length, return_tensors="pt", return_token_type_ids=False
    )
    with torch.no_grad():
        theirs = model(**inputs).logits.numpy()
    ours = OnnxTextModel(directory, 1).logits(texts)
    assert np.abs(theirs - ours).max() < 1e-3
    return model


def _operators(directory: Path) -> list[str]:
    return [node.op_type for node in onnx.load(directory / MODEL_FILE).graph.node]


def test_fewer_layers_and_narrower_layers_load_with_from_pretrained(
    make: Callable[..., Path], lessons: Lessons
) -> None:
    made = make(
        {"prune": {"method": "layers", "keepLayers": [1]}},
        {"prune": {"method": "ffn", "ratio": 0.5}},
    )
    config = _loads_and_answers_alike(made, lessons.draw(20)).config
    assert (config.num_hidden_layers, config.intermediate_size) == (1, 64)


def test_layers_that_are_not_there_are_named(make: Callable[..., Path]) -> None:
    with pytest.raises(TechniqueFailed, match=r"keepLayers: 7 is not there; the model has the layers 0 to 1"):
        make({"prune": {"method": "layers", "keepLayers": [0, 7]}})


def test_pruned_heads_stay_in_the_config_leave_the_graph_and_survive_training(
    make: Callable[..., Path], lessons: Lessons, splits: dict[str, Rows], source: Path
) -> None:
    steps = ({"prune": {"method": "heads", "ratio": 0.5}}, {"finetune": {"epochs": 2, "learningRate": 0.001}})
    made = make(*steps)
    assert _loads_and_answers_alike(made, lessons.draw(20)).config.num_attention_heads == 4
    shapes = {tuple(tensor.dims) for tensor in onnx.load(made / MODEL_FILE).graph.initializer}
    assert (64, 32) in shapes and (32, 64) in shapes, "two of four heads are computed"
    fused = make(*steps, FUSION)
    heads = [
        attribute.i
        for node in onnx.load(fused / MODEL_FILE).graph.node
        if node.op_type == "Attention"
        for attribute in node.attribute
        if attribute.name == "num_heads"
    ]
    assert heads == [2, 2]
    assert _accuracy(make(*steps, FUSION, INT8), splits["test"]) > 0.8


def test_magnitude_pruning_sets_the_smallest_weights_to_zero_and_training_keeps_them_there(
    make: Callable[..., Path], lessons: Lessons
) -> None:
    made = make({"prune": {"method": "magnitude", "ratio": 0.5, "finetuneEpochs": 1}})
    model = _loads_and_answers_alike(made, lessons.draw(20))
    weights = torch.cat(
        [part.weight.ravel() for part in model.base_model.modules() if isinstance(part, torch.nn.Linear)]
    )
    assert float((weights == 0).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_a_distilled_student_answers_more_like_its_teacher_than_the_layers_it_was_cut_from(
    make: Callable[..., Path], source: Path, lessons: Lessons, splits: dict[str, Rows]
) -> None:
    cut = make({"prune": {"method": "layers", "keepLayers": [0]}})
    student = make({"distill": {"keepLayers": [0], "epochs": 8, "learningRate": 0.003}})
    teacher, before, after = (OnnxTextModel(path, 1).answers(splits["test"].inputs) for path in (source, cut, student))
    assert np.abs(after - teacher).mean() < 0.5 * np.abs(before - teacher).mean()
    assert _accuracy(student, splits["test"]) > 0.9
    assert _loads_and_answers_alike(student, lessons.draw(20)).config.num_hidden_layers == 1


def test_a_student_of_another_shape_learns_from_nothing(make: Callable[..., Path], splits: dict[str, Rows]) -> None:
    shape = {"layers": 1, "hiddenSize": 32, "intermediateSize": 32, "attentionHeads": 2}
    student = make({"distill": {"student": shape, "epochs": 30, "learningRate": 0.003, "views": 1}})
    assert _accuracy(student, splits["test"]) > 0.7
    assert json.loads((student / "config.json").read_text())["hidden_size"] == 32


def test_hidden_states_and_attention_can_be_taught_while_the_tokens_are_the_teachers(
    make: Callable[..., Path], splits: dict[str, Rows]
) -> None:
    lesson = {"keepLayers": [1], "hiddenLoss": 1, "attentionLoss": 1, "epochs": 3, "learningRate": 0.002, "views": 1}
    assert _accuracy(make({"distill": lesson}), splits["test"]) > 0.8
    with pytest.raises(TechniqueFailed, match="put vocabulary after distill"):
        make({"vocabulary": {"maxTokens": 20}}, {"distill": lesson})


def test_training_gives_the_same_weights_each_time(make: Callable[..., Path]) -> None:
    lesson = {"distill": {"keepLayers": [0], "epochs": 1}}
    assert (make(lesson) / "model.safetensors").read_bytes() == (make(lesson) / "model.safetensors").read_bytes()


def test_the_teacher_is_asked_once_for_each_view_and_never_again(source: Path, splits: dict[str, Rows]) -> None:
    shelf = Shelf()
    first = Lessons(splits["train"], 0, source, threads=1, shelf=shelf).answers(1)
    assert list(shelf.kept) == ["teacher-1.npy"]
    nobody = Lessons(splits["train"], 0, Path("/nowhere"), threads=1, shelf=shelf)
    assert np.array_equal(nobody.answers(1), first)


def test_the_teacher_answers_alike_with_and_without_bf16(
    source: Path, splits: dict[str, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(brief: bool) -> np.ndarray:
        monkeypatch.setattr("kaon_jobs.compress.training.lessons.multiplies_bf16", lambda: brief)
        return Lessons(splits["train"], 0, source, threads=1).answers(0)

    assert np.allclose(answers(True), answers(False), atol=0.05)


def test_weights_that_learnt_with_rounding_lose_less_to_four_bits(
    make: Callable[..., Path], splits: dict[str, Rows]
) -> None:
    aware = {"finetune": {"epochs": 2, "learningRate": 0.001, "quantizationAware": "int4"}}
    four = {"quantize": {"scheme": "int4-weight-only"}}
    assert _accuracy(make(aware, four), splits["test"]) >= _accuracy(make(four), splits["test"]) - 0.02


def test_a_trimmed_vocabulary_reads_every_text_and_its_model_loads(
    make: Callable[..., Path], source: Path, lessons: Lessons
) -> None:
    made = make({"vocabulary": {"maxTokens": 20}})
    before, after = (Tokenizer.from_file(str(path / "tokenizer.json")) for path in (source, made))
    assert after.get_vocab_size() < before.get_vocab_size()
    unknown = after.token_to_id("[UNK]")
    for text in [*lessons.draw(200), "wing zzz qwertz", "a b c xylophone"]:
        assert unknown not in after.encode(text).ids
    found = json.loads((made / CARD_FILE).read_text())["recipe"]["vocabulary"]
    assert found == {"tokens": after.get_vocab_size(), "of": before.get_vocab_size(), "becameUnknown": 0}
    config = _loads_and_answers_alike(made, lessons.draw(20)).config
    assert config.vocab_size == after.get_vocab_size() and config.max_position_embeddings == 16
    assert config.pad_token_id == after.token_to_id("[PAD]")


def test_texts_whose_tokens_all_stayed_get_the_same_answers(
    make: Callable[..., Path], source: Path, lessons: Lessons
) -> None:
    made = make({"vocabulary": {"maxTokens": 30}})
    before, after = (Tokenizer.from_file(str(path / "tokenizer.json")) for path in (source, made))
    before.no_padding()
    after.no_padding()
    texts = [text for text in lessons.draw(200) if before.encode(text).tokens == after.encode(text).tokens]
    one, other = (OnnxTextModel(path, 1).logits(texts) for path in (source, made))
    assert len(texts) > 3 and np.abs(one - other).max() < 1e-4


def test_tokens_of_many_texts_are_not_padded_to_the_longest_of_them(source: Path) -> None:
    texts = ["a wing", "wing " * 5000, "wing"] * BLOCK
    whole = [len(row) for row in token_rows(source, texts, whole=True)]
    assert len(whole) == len(texts) and whole[1] > 5000 and whole[2] < 10 and whole[3:6] == whole[:3]
    assert max(len(row) for row in token_rows(source, texts)) == longest_of(source)


def _wordpiece(*pieces: str) -> dict[str, Any]:
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    model = {"type": "WordPiece", "vocab": vocabulary, "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    return {"model": model, "added_tokens": [{"id": 0, "content": "[UNK]"}]}


def test_a_character_without_a_piece_of_its_own_keeps_the_pieces_that_hold_it() -> None:
    described = _wordpiece("[UNK]", "a", "b", "##a", "##b", "ab", "abz", "##ba", "cab")
    kept = kept_tokens(described, set())
    assert kept == {"[UNK]", "a", "b", "##a", "##b", "abz", "cab"}


def test_a_byte_pair_token_keeps_what_it_is_merged_from() -> None:
    vocabulary = {token: number for number, token in enumerate(["l", "o", "w", "lo", "low", "ow"])}
    described = {"model": {"type": "BPE", "vocab": vocabulary, "merges": ["l o", "lo w", "o w"]}, "added_tokens": []}
    kept = kept_tokens(described, {"low"})
    assert kept == {"l", "o", "w", "lo", "low"}
    made = remapped(described, ["l", "o", "w", "lo", "low"])
    assert made["model"]["merges"] == [["l", "o"], ["lo", "w"]]


def test_a_unigram_tokenizer_reads_its_texts_as_before_and_every_other_text_still(lessons: Lessons) -> None:
    texts = lessons.draw(200)
    whole = Tokenizer(Unigram())
    whole.pre_tokenizer = Metaspace()
    whole.train_from_iterator(
        texts, UnigramTrainer(vocab_size=120, unk_token="<unk>", special_tokens=["<pad>", "<unk>"])
    )
    whole.add_special_tokens(["<mask>"])
    described = json.loads(whole.to_str())
    ids = token_ids(described)
    assert ids["<mask>"] == len(described["model"]["vocab"]), "it stands behind the model's own"
    few = texts[:5]
    used = {token for text in few for token in whole.encode(text).tokens}
    kept = kept_tokens(described, used)
    assert used < kept < set(ids)

    order = sorted(kept, key=lambda token: ids[token])
    smaller = Tokenizer.from_str(json.dumps(remapped(described, order)))
    assert smaller.get_vocab() == {token: number for number, token in enumerate(order)}
    assert [smaller.encode(text).tokens for text in few] == [whole.encode(text).tokens for text in few]
    unknown = smaller.token_to_id("<unk>")
    assert all(unknown not in smaller.encode(text).ids for text in texts)
    assert unknown in smaller.encode("\u4e16").ids, "what was unknown is unknown"


def test_a_unigram_piece_stays_when_it_holds_a_character_without_one_of_its_own() -> None:
    pieces = [["<unk>", 0.0], ["a", -2.0], ["b", -2.0], ["ab", -1.0], ["abz", -3.0], ["<0x41>", -4.0]]
    described = {"model": {"type": "Unigram", "unk_id": 0, "vocab": pieces}, "added_tokens": []}
    kept = kept_tokens(described, set())
    assert kept == {"<unk>", "a", "b", "abz", "<0x41>"}
    made = remapped(described, ["a", "<unk>", "b"])
    assert made["model"]["vocab"] == [["a", -2.0], ["<unk>", 0.0], ["b", -2.0]] and made["model"]["unk_id"] == 1


def test_a_technique_of_the_trained_form_refuses_a_model_without_one(
    source: Path, lessons: Lessons, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(source, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(TechniqueFailed, match="it needs the trained weights"):
        technique_of(Step.model_validate({"finetune": {}}), "encoder").apply(bare, tmp_path, lessons)


def test_the_last_layer_is_computed_for_the_first_token_and_segments_are_folded(
    make: Callable[..., Path], source: Path, lessons: Lessons
) -> None:
    fused = make(FUSION)
    operators = _operators(fused)
    assert "ConstantOfShape" not in operators and "Expand" not in operators
    graph = onnx.load(fused / MODEL_FILE).graph
    first = next(index for index, node in enumerate(graph.node) if node.name.endswith(".first"))
    last = max(index for index, node in enumerate(graph.node) if node.op_type == "Attention")
    assert first <= last + 2
    assert all(node.op_type != "Attention" for node in graph.node[last + 1 :])
    texts = lessons.draw(60)
    difference = OnnxTextModel(fused, 1).logits(texts) - OnnxTextModel(source, 1).logits(texts)
    assert np.abs(difference).max() < 1e-4


def test_low_rank_factors_replace_matrices_where_they_are_smaller(
    make: Callable[..., Path], source: Path, lessons: Lessons
) -> None:
    made = make(FUSION, {"lowRank": {"energy": 0.6}})
    assert any(node.name.endswith(".left") for node in onnx.load(made / MODEL_FILE).graph.node)
    assert (made / MODEL_FILE).stat().st_size < (source / MODEL_FILE).stat().st_size
    with pytest.raises(TechniqueFailed, match="ask for less"):
        make(FUSION, {"lowRank": {"energy": 0.9999}})


@pytest.mark.parametrize("only", [None, "embeddings", "products"])
def test_int4_stores_tables_and_products_in_four_bits(
    make: Callable[..., Path], source: Path, splits: dict[str, Rows], only: str | None
) -> None:
    made = make({"quantize": {"scheme": "int4-weight-only", **({"only": only} if only else {})}})
    operators = set(_operators(made))
    assert ("GatherBlockQuantized" in operators) == (only != "products")
    assert ("MatMulNBits" in operators) == (only != "embeddings")
    assert _accuracy(made, splits["test"]) > _accuracy(source, splits["test"]) - 0.1


def test_tables_in_int4_and_products_in_int8_store_less_than_int8_alone(
    make: Callable[..., Path], splits: dict[str, Rows]
) -> None:
    eight = make(FUSION, INT8)
    mixed = make({"quantize": {"scheme": "int4-weight-only", "only": "embeddings"}}, FUSION, INT8)
    assert {"GatherBlockQuantized", "QAttention", "MatMulInteger"} <= set(_operators(mixed))
    # The graph itself is longer, and outweighs the tables of a model as small as this one.
    stored = [
        sum(len(one.raw_data) for one in onnx.load(made / MODEL_FILE).graph.initializer) for made in (mixed, eight)
    ]
    assert stored[0] < stored[1]
    assert _accuracy(mixed, splits["test"]) > _accuracy(eight, splits["test"]) - 0.1


def test_bf16_halves_the_weights(make: Callable[..., Path], source: Path, splits: dict[str, Rows]) -> None:
    half = make(FUSION, {"quantize": {"scheme": "bf16"}})
    assert (half / MODEL_FILE).stat().st_size < 0.62 * (source / MODEL_FILE).stat().st_size
    assert _accuracy(half, splits["test"]) >= _accuracy(source, splits["test"]) - 0.02
