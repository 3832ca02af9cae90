"""Techniques on models of other families than BERT: a sample of the table in docs, which one command fills whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.families.builders import FAMILIES, LONGEST
from tests.families.compression import STEPS, rows_of, run_step, trained_form, untrained_artifact
from transformers.pytorch_utils import Conv1D

from kaon.api.compressionjob import Step
from kaon_jobs.compress.families import anatomy, encoder
from kaon_jobs.compress.families.soundness import check_edges
from kaon_jobs.compress.techniques.registry import technique_of
from kaon_jobs.compress.techniques.structure import keep_layers
from kaon_jobs.compress.techniques.vocabulary import shorten
from kaon_jobs.compress.training.calibration import batches
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.compress.training.rounding import Rounded
from kaon_jobs.compress.trials.baseline import check_ends
from kaon_jobs.compress.trials.judge import unanswered_edges
from kaon_jobs.errors import StageFailure, TechniqueFailed
from kaon_jobs.predict.onnx_model import CARD_FILE
from kaon_jobs.predict.onnx_text import longest_of
from kaon_jobs.predict.positions import longest_input

WORKS = [
    ("mpnet", "vocabulary"),
    ("camembert", "vocabulary+int4-embeddings"),
    ("gpt2", "vocabulary"),
    ("modernbert", "prune-layers"),
    ("albert", "prune-layers"),
    ("gpt2", "prune-ffn"),
    ("modernbert", "prune-ffn"),
    ("deberta-v2", "prune-heads"),
    ("mpnet", "prune-heads"),
    ("qwen2", "prune-heads"),
    ("gpt2", "int4-products"),
    ("qwen2", "int4-embeddings"),
    ("modernbert", "distill-student"),
    ("albert", "distill"),
]


@pytest.fixture(scope="module")
def trained_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The trained form of a family's model, made once."""
    made: dict[str, Path] = {}

    def trained(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            trained_form(family, made[family])
        return made[family]

    return trained


@pytest.fixture(scope="module")
def artifact_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The artifact of a family's model, made once."""
    made: dict[str, Path] = {}

    def artifact(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            untrained_artifact(family, made[family])
        return made[family]

    return artifact


@pytest.mark.parametrize(("family", "step"), WORKS, ids=lambda value: str(value))
def test_a_technique_works_on_a_family(artifact_of: Callable[[str], Path], family: str, step: str) -> None:
    assert run_step(artifact_of(family), step).sentence is None


def test_a_modernbert_cannot_lose_its_first_layer_and_the_sentence_says_why(
    artifact_of: Callable[[str], Path],
) -> None:
    outcome = run_step(artifact_of("modernbert"), "prune-first-layer")
    assert outcome.sentence is not None
    assert outcome.sentence.startswith("prune-layers(1 2 3): a modernbert model with the layers 1, 2, 3 alone")
    assert outcome.sentence.endswith("Layer 0 of such a model is built otherwise than the rest: keep it.")


def _longer_than_its_positions(source: Path, target: Path) -> Path:
    """The artifact with a card that says ten tokens more than the model reads."""
    shutil.copytree(source, target)
    card = json.loads((target / CARD_FILE).read_text())
    (target / CARD_FILE).write_text(json.dumps({**card, "maxSequenceLength": LONGEST["bert"] + 10}))
    return target


@pytest.mark.parametrize("only", ["embeddings", "products"])
def test_lookups_beyond_a_table_are_found_in_four_bits_too(
    artifact_of: Callable[[str], Path], tmp_path: Path, only: str
) -> None:
    made = _longer_than_its_positions(artifact_of("mpnet"), tmp_path / "made")
    step = Step.model_validate({"quantize": {"scheme": "int4-weight-only", "blockSize": 16, "only": only}})
    technique_of(step, "encoder").apply(artifact_of("mpnet"), made, Lessons(rows_of(3), 0, made, threads=1))
    told = "looks up rows that its tables do not have: row 75 of 66 in" if only == "embeddings" else "fails on"
    with pytest.raises(TechniqueFailed, match=told):
        check_edges(made, ["wing nest egg"])


def test_a_baseline_that_fails_on_a_text_of_full_length_is_refused_before_anything_is_made(
    artifact_of: Callable[[str], Path], tmp_path: Path
) -> None:
    check_ends(artifact_of("bert"), ["wing nest egg"])
    made = _longer_than_its_positions(artifact_of("bert"), tmp_path / "made")
    with pytest.raises(
        StageFailure, match=r"fails on a text of full length, 74 tokens: .* recipe.maxSequenceLength"
    ) as told:
        check_ends(made, ["wing nest egg"])
    assert told.value.reason == "ModelUnsound"
    assert unanswered_edges(made, ["wing nest egg"]) == 1, "a candidate like this is no candidate"


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_a_tokenizer_that_gives_an_empty_text_no_token_can_be_trained_and_calibrated_on(
    trained_of: Callable[[str], Path], family: str
) -> None:
    ids, mask = encoder.pad([[], []], 7)
    assert ids.tolist() == [[7], [7]] and mask.tolist() == [[1], [1]]
    (made,) = batches(trained_of(family), ["", ""], ["input_ids", "attention_mask"])
    assert made["input_ids"].shape[1] == (1 if family == "gpt2" else 2) and made["attention_mask"].all()


def test_weights_are_rounded_along_the_inputs_whichever_way_round_they_are_stored() -> None:
    linear, turned = torch.nn.Linear(64, 32, bias=False), Conv1D(32, 64)
    turned.weight.data = linear.weight.data.T.clone()
    for bits, block in ((8, None), (4, 32)):
        one = Rounded(bits, block, inputs_first=False)(linear.weight)
        other = Rounded(bits, block, inputs_first=True)(turned.weight)
        assert torch.allclose(one, other.T) and not torch.equal(one, linear.weight)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_trimmed_model_reads_as_many_tokens_as_its_card_says(trained_of: Callable[[str], Path], family: str) -> None:
    source = trained_of(family)
    model = encoder.load(source)
    before = longest_input(model)
    shorten(model, list(range(int(model.config.vocab_size) - 20)), 24)
    after = longest_input(model)
    assert (after is None) == (before is None)
    assert after is None or 24 <= after <= longest_of(source)
    if family != "deberta-v2":
        assert after in (None, 24), "positions that no text asks for go"


@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_heads_of_a_layer_are_found_by_what_reads_them(trained_of: Callable[[str], Path], family: str) -> None:
    model = encoder.load(trained_of(family))
    rows = anatomy.rows_of_heads(model)
    groups = anatomy.head_groups(model)
    assert groups == (2 if family == "qwen2" else 4)
    for layer, places in zip(anatomy.layers(model), rows, strict=True):
        assert len(places) == len(layer.projections) in (1, 3)
        for parts in places:
            assert len(parts) == groups and len(torch.cat(parts).unique()) == sum(map(len, parts))


def test_a_list_of_the_config_that_is_no_list_of_layers_stays_as_it_is(
    trained_of: Callable[[str], Path], tmp_path: Path
) -> None:
    model = encoder.load(trained_of("deberta-v2"))
    keep_layers(model, [0, 3], 16)
    # As many values as layers now, and none of them a layer's.
    assert len(model.config.pos_att_type) == anatomy.depth_of(model) == 2
    keep_layers(model, [1], 16)
    assert sorted(model.config.pos_att_type) == ["c2p", "p2c"]


def test_a_model_whose_files_do_not_belong_together_is_refused_by_name(
    trained_of: Callable[[str], Path], tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained_of("bert") / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(TechniqueFailed, match=r"do not belong together: they differ in bert\.encoder\.layer\.3"):
        encoder.load(tmp_path)


def test_layers_that_share_their_weights_are_stored_once_and_small_embeddings_as_they_are(
    trained_of: Callable[[str], Path],
) -> None:
    shape = encoder.shape_of(trained_of("albert"), [[2, 5, 3]] * 4)
    assert shape is not None and (shape.depth, shape.weight_sets, shape.hidden, shape.embedding) == (4, 1, 32, 16)
    one = replace(shape.whole, layers=(0,))
    assert shape.weights(one) == shape.weights(shape.whole) and shape.work(one) < shape.work(shape.whole)


def test_each_step_of_the_table_has_a_name_and_is_a_valid_spec() -> None:
    assert len(STEPS) >= 25
    assert all(Step.model_validate(step).kind for steps in STEPS.values() for step in steps)
