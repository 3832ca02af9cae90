"""Tiny base models of the families that people fine-tune: random weights, and a real tokenizer of the family's kind.

    FAMILIES["roberta"](directory)

writes config.json, model.safetensors and tokenizer files as a hub has them. Everything is drawn from fixed seeds, in
about a second. Weights are drawn so wide that different texts get different logits. Each model reads LONGEST[family]
tokens at most. Needs the `jobs` extra.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AlbertConfig,
    AlbertModel,
    AlbertTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
    CamembertConfig,
    CamembertModel,
    CamembertTokenizer,
    DebertaV2Config,
    DebertaV2Model,
    DebertaV2Tokenizer,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    GPT2Config,
    GPT2Model,
    GPT2Tokenizer,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    MPNetTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2Model,
    Qwen2Tokenizer,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
    TokenizersBackend,
    XLMRobertaConfig,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)

POSITIONS = 64
"""Tokens that a model reads at most, where its positions are counted from the first token."""

WORDS = [
    "wing",
    "feather",
    "beak",
    "nest",
    "egg",
    "flight",
    "song",
    "claw",
    "fin",
    "scale",
    "gill",
    "sea",
    "net",
    "swim",
    "reef",
    "tide",
    "leaf",
    "bark",
    "root",
    "branch",
    "seed",
    "forest",
    "moss",
    "shade",
    "the",
    "a",
    "one",
    "old",
    "small",
    "with",
    "near",
    "and",
    "of",
    "very",
    "some",
    "that",
    "is",
    "was",
    "it",
]
CHINESE = "好坏吃店菜味道服务差很不错"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MARKS = ".,!?'\"-0123456789"


def _word_pieces(special: list[str]) -> dict[str, int]:
    continued = [f"##{letter}" for letter in _LETTERS + CHINESE]
    pieces = [*special, *WORDS, *_LETTERS, *_MARKS, *CHINESE, *continued]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


def _unigram(first: list[str], last: list[str] | None = None) -> list[tuple[str, float]]:
    pieces = [f"▁{word}" for word in WORDS]
    letters = ["▁", *_LETTERS, *_MARKS, *CHINESE]
    scored = [(piece, -4.0) for piece in pieces] + [(letter, -9.0) for letter in letters if letter not in pieces]
    ends = [(piece, 0.0) for piece in last or []]
    return [(piece, 0.0) for piece in first] + scored + ends


def _byte_level(first: list[str], last: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of all bytes and of the words, each built up from the left."""
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS:
        for spelled in (f"Ġ{word}", word):
            left = spelled[0]
            for letter in spelled[1:]:
                merges[(left, letter)] = None
                left += letter
    pieces = [*first, *sorted(ByteLevel.alphabet()), *(left + right for left, right in merges), *last]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}, list(merges)


def _bert_tokenizer() -> PreTrainedTokenizerBase:
    return BertTokenizer(vocab=_word_pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]), model_max_length=POSITIONS)


def _roberta_tokenizer() -> PreTrainedTokenizerBase:
    vocabulary, merges = _byte_level(["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"])
    return RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=POSITIONS)


def _modernbert_tokenizer() -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    vocabulary, merges = _byte_level([], special)
    fast = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    fast.normalizer = normalizers.NFC()
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    return TokenizersBackend(
        tokenizer_object=fast,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_max_length=POSITIONS,
    )


def _gpt2_tokenizer() -> PreTrainedTokenizerBase:
    vocabulary, merges = _byte_level([], ["<|endoftext|>"])
    # As on the hub: no padding token.
    return GPT2Tokenizer(vocab=vocabulary, merges=merges, model_max_length=POSITIONS)


def _qwen2_tokenizer() -> PreTrainedTokenizerBase:
    vocabulary, merges = _byte_level([], ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return Qwen2Tokenizer(vocab=vocabulary, merges=merges, model_max_length=POSITIONS)


def _shape(**changes: Any) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": POSITIONS,
        **changes,
    }


def _config(family: str, size: int, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    known = {"vocab_size": size}
    padded = {**known, "pad_token_id": tokenizer.pad_token_id}
    # As on the hub: two positions more than tokens, since the padding token takes the first two.
    shifted = _shape(max_position_embeddings=POSITIONS + 2, type_vocab_size=1)
    match family:
        case "bert":
            return BertConfig(**padded, **_shape())
        case "distilbert":
            return DistilBertConfig(
                **padded, dim=32, n_layers=4, n_heads=4, hidden_dim=48, max_position_embeddings=POSITIONS
            )
        case "roberta":
            return RobertaConfig(**padded, **shifted)
        case "xlm-roberta":
            return XLMRobertaConfig(**padded, **shifted)
        case "camembert":
            return CamembertConfig(**padded, **shifted)
        case "albert":
            return AlbertConfig(**padded, **_shape(embedding_size=16))
        case "electra":
            return ElectraConfig(**padded, **_shape(embedding_size=16))
        case "deberta-v2":
            # As DeBERTa-v3: relative positions alone.
            relative = {"relative_attention": True, "position_buckets": 16, "norm_rel_ebd": "layer_norm"}
            attention = {"pos_att_type": ["p2c", "c2p"], "share_att_key": True, "position_biased_input": False}
            return DebertaV2Config(**padded, **_shape(type_vocab_size=0), **relative, **attention)
        case "mpnet":
            return MPNetConfig(**padded, **_shape(max_position_embeddings=POSITIONS + 2))
        case "modernbert":
            marks = {
                "cls_token_id": tokenizer.cls_token_id,
                "sep_token_id": tokenizer.sep_token_id,
                "bos_token_id": tokenizer.cls_token_id,
                "eos_token_id": tokenizer.sep_token_id,
            }
            return ModernBertConfig(**padded, **_shape(), **marks, local_attention=16)
        case "gpt2":
            end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
            return GPT2Config(
                **known,
                n_embd=32,
                n_layer=4,
                n_head=4,
                n_inner=48,
                n_positions=POSITIONS,
                bos_token_id=end,
                eos_token_id=end,
            )
        case "qwen2":
            end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
            return Qwen2Config(**known, **_shape(num_key_value_heads=2), bos_token_id=end, eos_token_id=end)
    raise ValueError(f"no such family: {family}")


def _widened(model: PreTrainedModel, seed: int) -> None:
    """Draws every weight anew: as wide as its inputs allow, so that the model's answers hang on its text."""
    draw = torch.Generator().manual_seed(seed)
    normalised = {f"{name}.weight" for name, module in model.named_modules() if "norm" in type(module).__name__.lower()}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=draw)
            if name in normalised:
                weight.copy_(1 + 0.1 * noise)
            elif weight.dim() < 2:
                weight.copy_(0.1 * noise)
            else:
                weight.copy_(noise * 1.2 / min(weight.shape) ** 0.5)


_MADE: dict[str, tuple[Callable[[], PreTrainedTokenizerBase], type[PreTrainedModel]]] = {
    "bert": (_bert_tokenizer, BertModel),
    "distilbert": (_bert_tokenizer, DistilBertModel),
    "roberta": (_roberta_tokenizer, RobertaModel),
    "albert": (
        lambda: AlbertTokenizer(
            vocab=_unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]), model_max_length=POSITIONS
        ),
        AlbertModel,
    ),
    "electra": (_bert_tokenizer, ElectraModel),
    "deberta-v2": (
        lambda: DebertaV2Tokenizer(
            vocab=_unigram(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], ["[MASK]"]), model_max_length=POSITIONS
        ),
        DebertaV2Model,
    ),
    "mpnet": (
        lambda: MPNetTokenizer(
            vocab=_word_pieces(["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"]), model_max_length=POSITIONS
        ),
        MPNetModel,
    ),
    "modernbert": (_modernbert_tokenizer, ModernBertModel),
    "xlm-roberta": (
        lambda: XLMRobertaTokenizer(
            vocab=_unigram(["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"]), model_max_length=POSITIONS
        ),
        XLMRobertaModel,
    ),
    "camembert": (
        lambda: CamembertTokenizer(
            vocab=_unigram(["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<s>", "</s>"], ["<mask>"]),
            model_max_length=POSITIONS,
        ),
        CamembertModel,
    ),
    "gpt2": (_gpt2_tokenizer, GPT2Model),
    "qwen2": (_qwen2_tokenizer, Qwen2Model),
}


def _builder(family: str) -> Callable[[Path], None]:
    def build(directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        make_tokenizer, kind = _MADE[family]
        tokenizer = make_tokenizer()
        tokenizer.save_pretrained(directory)
        torch.manual_seed(5)
        model = kind(_config(family, len(tokenizer), tokenizer))
        _widened(model, 11)
        model.save_pretrained(directory)

    build.__doc__ = f"Writes a base model of the family {family}."
    return build


FAMILIES: dict[str, Callable[[Path], None]] = {family: _builder(family) for family in _MADE}

LONGEST = dict.fromkeys(FAMILIES, POSITIONS)
"""Tokens that each model reads at most, special tokens included."""
