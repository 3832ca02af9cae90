"""A long text is cut before it is read, where that changes no token: held against tokenizers of each kind."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from kaon_jobs.runtime import text as reader
from kaon_jobs.runtime.text import cut, encode, reads_words_alone

MAX_LENGTH = 12
WORDS = "the quick brown fox jumps over a lazy dog's back 1234 times, don't naïve Straße 电池 很好 tis' x" * 3
QWEN, LLAMA = sorted((one for one in reader._KNOWN_PATTERNS if "(?i:" in one), key=len)


def trained(tokenizer: Tokenizer, trainer: trainers.Trainer) -> Tokenizer:
    draw = random.Random(1)
    texts = [" ".join(draw.choices(WORDS.split(), k=30)) for _ in range(40)]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_truncation(max_length=MAX_LENGTH)
    tokenizer.enable_padding()
    return tokenizer


def bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained(tokenizer, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def bytes_of(pattern: str | None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    own = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    split = [] if pattern is None else [pre_tokenizers.Split(Regex(pattern), "isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, own])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=alphabet, special_tokens=["<s>"], show_progress=False
    )
    return trained(tokenizer, trainer)


def with_tokens_of_spaces() -> Tokenizer:
    tokenizer = bytes_of(None)
    tokenizer.add_tokens(["  ", "   ", " " * 8, "\n\n", "lazy"])
    return tokenizer


def sentences() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(), spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<pad>", "<unk>", "<mask>"], unk_token="<unk>", show_progress=False
    )
    return trained(tokenizer, trainer)


def split_words() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=True)]
    )
    return trained(tokenizer, trainers.WordLevelTrainer(vocab_size=60, special_tokens=["[UNK]"], show_progress=False))


MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "BERT": bert,
    "GPT-2": lambda: bytes_of(None),
    "Llama 3": lambda: bytes_of(LLAMA),
    "Qwen 2": lambda: bytes_of(QWEN),
    "Unigram": sentences,
    "words": split_words,
    "spaces": with_tokens_of_spaces,
}
TOKENIZERS = {name: make() for name, make in MAKERS.items()}

PARTS = [*" " * 12, *"abcdefgthe'tsSTRE", *"0123.,!?-_", *"éßΣİ电池🙂▁\n\t\0\x1c\x85\u00a0\u3000\u2028\u0301\u200d"]
characters = st.sampled_from([*PARTS, "\r\n", "<mask>", "[MASK]", "the ", "'S ", "n't "])
texts = st.lists(characters, min_size=0, max_size=400).map("".join)
long_texts = st.tuples(texts, texts, st.integers(1, 6)).map(lambda parts: (parts[0] + " " + parts[1]) * parts[2])


def whole(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text).ids
    return ids


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=300, deadline=None)
@given(text=long_texts)
def test_what_is_kept_has_the_same_tokens(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    assert whole(tokenizer, cut(tokenizer, text)) == whole(tokenizer, text)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_text_of_words_is_cut_wherever_its_words_end(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    assert reads_words_alone(tokenizer)
    draw = random.Random(name)
    for _ in range(300):
        text = draw.choice((" ", "  ", " \n")).join(draw.choices(WORDS.split(), k=200))
        beginning = cut(tokenizer, text)
        assert len(beginning) < len(text) / 2
        assert whole(tokenizer, beginning) == whole(tokenizer, text)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_megabyte_of_words_costs_as_little_as_its_beginning(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    text = "the quick brown fox " * 52_429
    encode(tokenizer, ["warm up"], ["input_ids"])
    began = time.process_time()
    found = encode(tokenizer, [text], ["input_ids"])
    assert time.process_time() - began < 0.1
    assert found["input_ids"].tolist() == [whole(tokenizer, text)]


@pytest.mark.parametrize(
    "change",
    [
        lambda one: setattr(one, "pre_tokenizer", pre_tokenizers.ByteLevel(use_regex=False)),
        lambda one: setattr(one, "pre_tokenizer", pre_tokenizers.Split(Regex(r"\w+ \w+"), "isolated")),
        lambda one: setattr(one, "pre_tokenizer", pre_tokenizers.Metaspace(split=False)),
        lambda one: setattr(one, "normalizer", normalizers.Replace(Regex("a (?=b)"), "c")),
        lambda one: setattr(one, "normalizer", normalizers.Replace(" ", "")),
        lambda one: one.add_tokens(["two words"]),
        lambda one: one.add_tokens(["a\u3000b"]),
        lambda one: one.enable_truncation(max_length=MAX_LENGTH, direction="left"),
        lambda one: one.no_truncation(),
    ],
)
def test_a_tokenizer_that_reads_over_spaces_gets_the_whole_text(change: Callable[[Tokenizer], object]) -> None:
    tokenizer = bytes_of(None)
    change(tokenizer)
    text = "a b two words " * 500
    assert cut(tokenizer, text) == text
