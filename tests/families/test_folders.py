"""Folders of base models as people have them: trained as they are meant, or refused with the file and the way out."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LongformerConfig,
    LongformerModel,
)

from kaon_jobs.errors import StageFailure
from kaon_jobs.pretrained.folder import MAX_WEIGHT_BYTES, check_names
from kaon_jobs.store.objectstore import Entry

from .builders import FAMILIES, WORDS
from .checking import TEXTS, Damage, checked, config, json_values, made, weights, without


def refused(folder: Path, **recipe: Any) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        checked(folder, **recipe)
    failure = caught.value
    assert not failure.retriable and failure.reason != "InternalError"
    assert failure.message.endswith(".") and ".." not in failure.message
    return failure


def renamed(before: str, after: str) -> Damage:
    return weights(lambda tensors: {name.replace(before, after, 1): tensor for name, tensor in tensors.items()})


def shard(folder: Path, lost: bool) -> None:
    """Splits the weights into two files, as large models are, and loses the second."""
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    keys = sorted(tensors)
    where = {key: names[index >= len(keys) // 2] for index, key in enumerate(keys)}
    for name in names:
        save_file({key: tensors[key] for key in keys if where[key] == name}, folder / name, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    without("model.safetensors", *(names[1:] if lost else []))(folder)


class TestWeights:
    def test_weights_under_another_prefix_are_refused_with_their_number(self, tmp_path: Path) -> None:
        failure = refused(made("bert", tmp_path, renamed("", "module.")))
        assert failure.reason == "ModelWeightsMismatch"
        assert "69 of 69 weights" in failure.message and "module." in failure.message

    def test_weights_of_another_size_are_refused_with_both_sizes(self, tmp_path: Path) -> None:
        failure = refused(made("bert", tmp_path, config(intermediate_size=40)))
        assert failure.reason == "ModelWeightsMismatch"
        assert "[48, 32] instead of [40, 32]" in failure.message

    @pytest.mark.parametrize(("layers", "said"), [(3, "have no place in the model"), (5, "are missing")])
    def test_another_number_of_layers_is_refused(self, tmp_path: Path, layers: int, said: str) -> None:
        failure = refused(made("bert", tmp_path, config(num_hidden_layers=layers)))
        assert failure.reason == "ModelWeightsMismatch" and said in failure.message

    def test_a_count_of_parts_without_bounds_is_refused_at_once(self, tmp_path: Path) -> None:
        failure = refused(made("albert", tmp_path, config(inner_group_num=10**9)))
        assert failure.reason == "ModelWeightsMismatch" and "modules" in failure.message

    def test_one_missing_weight_of_the_encoder_is_refused_by_name(self, tmp_path: Path) -> None:
        lost = "encoder.layer.2.attention.self.query.weight"
        drop = weights(lambda tensors: {name: tensor for name, tensor in tensors.items() if name != lost})
        failure = refused(made("roberta", tmp_path, drop))
        assert failure.reason == "ModelWeightsMismatch" and f"roberta.{lost}" in failure.message

    def test_a_head_for_other_classes_is_replaced(self, tmp_path: Path) -> None:
        made("bert", tmp_path)
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=7)
        model.save_pretrained(tmp_path)
        _, found = checked(tmp_path)
        assert found.classifier.out_features == 3
        torch.testing.assert_close(
            found.bert.encoder.layer[1].output.dense.weight, model.bert.encoder.layer[1].output.dense.weight
        )

    @pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra", "deberta-v2", "modernbert"])
    def test_a_language_model_without_a_pooler_is_trained(self, tmp_path: Path, family: str) -> None:
        made(family, tmp_path)
        AutoModelForMaskedLM.from_pretrained(tmp_path).save_pretrained(tmp_path)
        checked(tmp_path)

    def test_weights_that_are_all_zero_are_refused(self, tmp_path: Path) -> None:
        zero = weights(lambda tensors: {name: torch.zeros_like(tensor) for name, tensor in tensors.items()})
        failure = refused(made("bert", tmp_path, zero))
        assert failure.reason == "ModelUnreadable" and "the same answer" in failure.message


class TestVocabulary:
    def test_a_folder_without_a_vocabulary_is_refused(self, tmp_path: Path) -> None:
        failure = refused(made("bert", tmp_path, without("tokenizer.json")))
        assert "holds no vocabulary" in failure.message and "vocab.txt" in failure.message

    def test_a_vocabulary_of_another_family_is_refused(self, tmp_path: Path) -> None:
        made("roberta", tmp_path, without("tokenizer.json", "tokenizer_config.json"))
        (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
        failure = refused(tmp_path)
        assert failure.reason == "TokenizerUnusable"
        assert "knows 5 tokens, the model 487" in failure.message and "merges.txt" in failure.message

    def test_a_tokenizer_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        made("bert", tmp_path / "bert")
        made("roberta", tmp_path / "roberta", without("tokenizer_config.json"))
        (tmp_path / "roberta/tokenizer.json").write_bytes((tmp_path / "bert/tokenizer.json").read_bytes())
        failure = refused(tmp_path / "roberta")
        assert failure.reason == "TokenizerUnusable"

    def test_tokens_beyond_the_models_table_are_refused(self, tmp_path: Path) -> None:
        rows = weights(
            lambda tensors: {
                name: tensor[:100].clone() if name == "embeddings.word_embeddings.weight" else tensor
                for name, tensor in tensors.items()
            }
        )
        failure = refused(made("bert", tmp_path, rows, config(vocab_size=100)))
        assert failure.reason == "TokenizerUnusable" and "outside of the model's table" in failure.message

    def test_tokens_that_were_added_to_the_tokenizer_alone_get_rows_as_the_refusal_says(self, tmp_path: Path) -> None:
        tokenizer = AutoTokenizer.from_pretrained(made("bert", tmp_path))
        tokenizer.add_tokens(["feather reef", "[name]"])
        tokenizer.save_pretrained(tmp_path)
        assert "resize_token_embeddings(len(tokenizer)) and save it again" in refused(tmp_path).message
        model = AutoModel.from_pretrained(tmp_path)
        model.resize_token_embeddings(len(tokenizer))
        model.save_pretrained(tmp_path)
        assert checked(tmp_path)[1].get_input_embeddings().num_embeddings == len(tokenizer)

    def test_a_byte_order_mark_in_the_vocabulary_is_refused(self, tmp_path: Path) -> None:
        made("bert", tmp_path)
        known = AutoTokenizer.from_pretrained(tmp_path).get_vocab()
        without("tokenizer.json")(tmp_path)
        (tmp_path / "vocab.txt").write_text("\n".join(sorted(known, key=known.__getitem__)), encoding="utf-8-sig")
        failure = refused(tmp_path)
        assert "vocab.txt" in failure.message and "byte-order mark" in failure.message

    def test_rows_that_the_vocabulary_does_not_know_are_refused_with_their_share(self, tmp_path: Path) -> None:
        made("bert", tmp_path)
        with pytest.raises(StageFailure) as caught:
            checked(tmp_path, texts=["этот фильм очень хороший", "the wing"] * 8)
        assert caught.value.reason == "VocabularyUnknown" and "75.0% of the characters" in caught.value.message

    def test_texts_of_which_nothing_is_left_are_refused(self, tmp_path: Path) -> None:
        made("gpt2", tmp_path)
        declared = json.loads((tmp_path / "tokenizer.json").read_text())
        # A byte-level vocabulary has no unknown token: what it lacks is lost without a trace.
        known = declared["model"]["vocab"]
        kept = {token if len(token) > 1 else f"unused{index}": index for token, index in known.items()}
        declared["model"].update(vocab=kept, merges=[])
        (tmp_path / "tokenizer.json").write_text(json.dumps(declared))
        failure = refused(tmp_path)
        assert failure.reason == "VocabularyUnknown" and "16 texts lose everything" in failure.message

    def test_vocab_json_without_merges_is_refused(self, tmp_path: Path) -> None:
        made("gpt2", tmp_path)
        known = AutoTokenizer.from_pretrained(tmp_path).get_vocab()
        without("tokenizer.json")(tmp_path)
        (tmp_path / "vocab.json").write_text(json.dumps(known))
        assert "merges.txt" in refused(tmp_path).message

    @pytest.mark.parametrize(
        ("family", "name", "options"),
        [
            ("deberta-v2", "spm.model", {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "unk_piece": "[UNK]"}),
            ("albert", "spiece.model", {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}),
            ("xlm-roberta", "sentencepiece.bpe.model", {"unk_id": 0, "bos_id": 1, "eos_id": 2}),
        ],
    )
    def test_a_sentencepiece_model_alone_is_read_as_sentencepiece_reads_it(
        self, tmp_path: Path, family: str, name: str, options: dict[str, Any]
    ) -> None:
        named = {"deberta-v2": {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]"}}.get(family, {})
        albert = {"user_defined_symbols": ["[CLS]", "[SEP]", "[MASK]"]} if family == "albert" else {}
        draw, model = random.Random(1), io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([" ".join(draw.choices(WORDS, k=8)) for _ in range(400)]),
            model_writer=model,
            vocab_size=80,
            hard_vocab_limit=False,
            minloglevel=2,
            **options,
            **named,
            **albert,
        )
        made(family, tmp_path, without("tokenizer.json", "tokenizer_config.json"))
        (tmp_path / name).write_bytes(model.getvalue())
        tokenizer, _ = checked(tmp_path)
        pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).encode(TEXTS[0], out_type=str)
        assert tokenizer.tokenize(TEXTS[0]) == pieces


class TestFilesOfTheHub:
    def test_pickled_weights_alone_are_refused_with_how_to_convert_them(self, tmp_path: Path) -> None:
        made("bert", tmp_path)
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
        failure = refused(tmp_path)
        assert "pytorch_model.bin" in failure.message and "save_pretrained" in failure.message

    @pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
    def test_a_git_lfs_pointer_is_named(self, tmp_path: Path, name: str) -> None:
        made("bert", tmp_path)
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 440449768\n")
        failure = refused(tmp_path)
        assert f"{name} at" in failure.message and "git lfs pull" in failure.message

    def test_sharded_weights_are_read_and_a_missing_shard_is_named(self, tmp_path: Path) -> None:
        shard(made("bert", tmp_path / "whole"), lost=False)
        checked(tmp_path / "whole")
        shard(made("bert", tmp_path / "lost"), lost=True)
        assert "model-00002-of-00002.safetensors" in refused(tmp_path / "lost").message

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            (["adapter_config.json", "adapter_model.safetensors"], "merge_and_unload"),
            (["model-Q4_K_M.gguf", "README.md"], "GGUF"),
            (["config.json", "tokenizer.json", "tf_model.h5"], "tf_model.h5"),
            (["config.json", "tokenizer.json", "model.fp16.safetensors"], "model.fp16.safetensors"),
            (["config.json", "tokenizer.json"], "model.safetensors is missing"),
            ([], "It holds nothing"),
            (["README.md", "1_Pooling/config.json"], "It holds README.md, 1_Pooling/."),
            (
                ["checkpoint-9/config.json", "checkpoint-9/tokenizer.json", "checkpoint-9/model.safetensors"],
                "Set spec.model.base to s3://bucket/model/checkpoint-9.",
            ),
            (
                [
                    "modules.json",
                    "0_Transformer/config.json",
                    "0_Transformer/vocab.txt",
                    "0_Transformer/model.safetensors",
                    "2_Dense/config.json",
                    "2_Dense/model.safetensors",
                ],
                "Set spec.model.base to s3://bucket/model/0_Transformer.",
            ),
            (
                ["config.json", "tokenizer.json", "model.safetensors", "adapter_config.json"],
                "beside it an adapter (adapter_config.json), which would not be read",
            ),
        ],
    )
    def test_what_is_no_model_is_refused_by_its_names(self, names: list[str], said: str) -> None:
        with pytest.raises(StageFailure) as caught:
            check_names([Entry(name, 100) for name in names], "s3://bucket/model")
        assert said in caught.value.message and not caught.value.retriable

    def test_more_than_two_gib_of_weights_are_refused_before_they_are_copied(self) -> None:
        sizes = {"config.json": 900, "tokenizer.json": 900, "model.safetensors": MAX_WEIGHT_BYTES + 1}
        with pytest.raises(StageFailure) as caught:
            check_names([Entry(name, size) for name, size in sizes.items()], "s3://bucket/model")
        assert caught.value.reason == "ModelTooLarge" and "2 GiB" in caught.value.message

    def test_weights_that_grow_beyond_two_gib_as_float32_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from kaon_jobs.pretrained import base_model

        monkeypatch.setattr(base_model, "MAX_WEIGHT_BYTES", 100_000)
        assert refused(made("bert", tmp_path)).reason == "ModelTooLarge"

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
    def test_a_file_that_is_cut_off_is_named(self, tmp_path: Path, name: str) -> None:
        made("bert", tmp_path)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-50])
        assert name in refused(tmp_path).message


class TestConfigurations:
    @pytest.mark.parametrize(
        "changes",
        [
            {"output_hidden_states": True},
            {"output_attentions": True, "attn_implementation": "eager"},
            {"return_dict": False},
            {"attn_implementation": "flash_attention_2"},
            {"_attn_implementation": "flash_attention_2"},
            {"torch_dtype": "float16"},
        ],
    )
    def test_what_only_changes_how_a_model_is_run_elsewhere_does_not_hinder(
        self, tmp_path: Path, changes: dict[str, Any]
    ) -> None:
        checked(made("bert", tmp_path, config(**changes)))

    def test_quantized_weights_are_refused_by_their_method(self, tmp_path: Path) -> None:
        failure = refused(made("qwen2", tmp_path, config(quantization_config={"quant_method": "gptq", "bits": 4})))
        assert "gptq" in failure.message and "quantization_config" in failure.message

    @pytest.mark.parametrize("family", ["gpt2", "qwen2"])
    def test_a_decoder_without_a_padding_token_takes_that_of_its_tokenizer(self, tmp_path: Path, family: str) -> None:
        tokenizer, model = checked(made(family, tmp_path))
        assert model.config.pad_token_id == tokenizer.pad_token_id is not None

    @pytest.mark.parametrize("field", ["unk_token", "pad_token"])
    @pytest.mark.parametrize("family", ["bert", "deberta-v2", "roberta"])
    def test_a_special_token_that_no_vocabulary_can_hold_is_refused(
        self, tmp_path: Path, family: str, field: str
    ) -> None:
        failure = refused(made(family, tmp_path, json_values("tokenizer_config.json", **{field: ""})))
        assert failure.reason == "TokenizerUnusable"
        assert f"has the {field} '', which its vocabulary lacks. Name a token of" in failure.message

    def test_padding_that_changes_answers_is_refused(self, tmp_path: Path) -> None:
        failure = refused(made("gpt2", tmp_path, json_values("tokenizer_config.json", padding_side="left")))
        assert failure.reason == "PaddingChangesAnswers" and "padding_side" in failure.message

    def test_padding_on_the_left_is_kept_where_it_changes_nothing(self, tmp_path: Path) -> None:
        tokenizer, _ = checked(made("qwen2", tmp_path, json_values("tokenizer_config.json", padding_side="left")))
        assert tokenizer.padding_side == "left"

    def test_a_sequence_longer_than_a_model_reads_is_refused_with_its_true_length(self, tmp_path: Path) -> None:
        made("roberta", tmp_path)
        assert "reads at most 64 tokens" in refused(tmp_path, maxSequenceLength=66).message
        checked(tmp_path, maxSequenceLength=64)


class TestRecipes:
    @pytest.mark.parametrize("family", list(FAMILIES))
    def test_dropout_reaches_the_modules_of_every_family(self, tmp_path: Path, family: str) -> None:
        _, model = checked(made(family, tmp_path), dropout=0.31)
        rates = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
        own = {value for name, value in model.config.to_dict().items() if "drop" in name and name != "layerdrop"}
        assert rates <= {0.31} and 0.31 in own

    @pytest.mark.parametrize("family", ["distilbert", "mpnet"])
    def test_gradient_checkpointing_is_refused_by_name_or_works(self, tmp_path: Path, family: str) -> None:
        made(family, tmp_path)
        if AutoModelForSequenceClassification.from_pretrained(tmp_path).supports_gradient_checkpointing:
            checked(tmp_path, gradientCheckpointing=True)
        else:
            failure = refused(tmp_path, gradientCheckpointing=True)
            assert failure.reason == "RecipeUnsupported" and "recipe.gradientCheckpointing" in failure.message

    def test_what_cannot_be_exported_is_refused_before_training(self, tmp_path: Path) -> None:
        made("roberta", tmp_path)
        size = json.loads((tmp_path / "config.json").read_text())["vocab_size"]
        torch.manual_seed(0)
        longformer = LongformerConfig(
            vocab_size=size,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=66,
            attention_window=[4, 4],
            pad_token_id=1,
        )
        LongformerModel(longformer).save_pretrained(tmp_path)
        failure = refused(tmp_path, dropout=0.1)
        assert failure.reason == "ModelNotExportable" and "longformer" in failure.message

    def test_the_rehearsal_leaves_weights_and_random_numbers_as_they_were(self, tmp_path: Path) -> None:
        torch.manual_seed(1)
        made("bert", tmp_path)
        _, model = checked(tmp_path, dropout=0.5)
        after = torch.rand(3)
        _, again = checked(tmp_path, dropout=0.5, gradientCheckpointing=True)
        torch.testing.assert_close(torch.rand(3), after)
        assert model.training and model.config._attn_implementation == "sdpa" and not again.is_activation_checkpointing
        for one, other in zip(model.parameters(), again.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_what_is_cut_on_the_left_in_training_is_cut_on_the_left_when_served(tmp_path: Path) -> None:
    from kaon_jobs.learn.export import write_tokenizer
    from kaon_jobs.runtime.text import encode, load_tokenizer

    made("bert", tmp_path / "base", json_values("tokenizer_config.json", truncation_side="left"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    (tmp_path / "out").mkdir()
    write_tokenizer(tokenizer, 8, tmp_path / "out")
    long = "the wing feather beak nest egg flight song claw fin scale gill"
    trained = tokenizer(long, truncation=True, max_length=8)["input_ids"]
    served = load_tokenizer(tmp_path / "out/tokenizer.json", 8)
    assert encode(served, [long], ["input_ids"])["input_ids"].tolist() == [trained]
    assert "gill" in tokenizer.decode(trained)


def test_an_empty_text_is_read_alike_alone_and_beside_others(tmp_path: Path) -> None:
    from kaon_jobs.runtime.text import encode

    made("gpt2", tmp_path)
    fast = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    fast.enable_padding(pad_id=5, pad_token="x")
    names = ["input_ids", "attention_mask"]
    alone, beside = encode(fast, [""], names), encode(fast, ["", "the wing"], names)
    assert alone["input_ids"].tolist() == [[5]] and alone["attention_mask"].tolist() == [[1]]
    assert beside["attention_mask"][0].tolist() == [1] + [0] * (beside["input_ids"].shape[1] - 1)
