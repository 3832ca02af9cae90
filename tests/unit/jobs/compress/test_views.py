"""Views of texts: in every script a part of the text, another one for each number, never torn inside of a letter."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from kaon_jobs.compress.training.views import Spans, units, view

SpansOf = Callable[[list[str]], list[Spans]]

CHINESE = "这家店的菜味道很好服务也不错下次还会再来"
THAI = "ร้านนี้อาหารอร่อยมากและบริการดี"
JAPANESE = "このカメラはWi-Fi対応で very 便利です"
KOREAN = "이 식당은 정말 맛있고 친절합니다 다시 오고 싶어요"


def _word_piece(texts: list[str]) -> Tokenizer:
    """As BERT's: Chinese characters stand alone, Thai is read in single characters."""
    characters = sorted({character for text in texts for character in text if not character.isspace()})
    pieces = ["[UNK]", *characters, *(f"##{character}" for character in characters)]
    made = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def _unigram(texts: list[str]) -> Tokenizer:
    """As XLM-R's: a run without spaces is one word, read in pieces of up to two characters."""
    pairs = {text[at : at + 2] for text in texts for at in range(0, len(text) - 1, 2) if " " not in text[at : at + 2]}
    characters = {character for text in texts for character in text if not character.isspace()}
    pieces = [("<unk>", 0.0), ("▁", -3.0), *((pair, -2.0) for pair in sorted(pairs)), *((c, -9.0) for c in characters)]
    made = Tokenizer(models.Unigram(pieces, 0, False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


def _byte_level(texts: list[str]) -> Tokenizer:
    """As GPT-2's: a Chinese character is three tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


def _spans(tokenizer: Tokenizer) -> SpansOf:
    return lambda texts: [encoding.offsets for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def _nobody(texts: list[str]) -> list[Spans]:
    raise AssertionError(f"no token is needed of {texts}")


def _is_part(made: str, text: str) -> bool:
    rest = iter(text)
    return all(character in rest for character in made)


def test_words_between_spaces_are_left_out_the_same_way_each_time() -> None:
    texts = ["one two three four five six seven eight nine ten"] * 50
    assert view(texts, 0, 1, 5, _nobody) == texts
    assert view(texts, 1, 1, 5, _nobody) == view(texts, 1, 1, 5, _nobody) != view(texts, 2, 1, 5, _nobody)
    for made, text in zip(view(texts, 1, 1, 5, _nobody), texts, strict=True):
        assert set(made.split()) <= set(text.split()) and 1 <= len(made.split()) <= 5


@pytest.mark.parametrize("tokenizer", [_word_piece, _unigram, _byte_level])
@pytest.mark.parametrize("text", [CHINESE, THAI, JAPANESE, KOREAN], ids=["Chinese", "Thai", "Japanese", "Korean"])
def test_a_view_in_any_script_is_a_part_of_its_text_and_not_the_text_itself(
    tokenizer: Callable[[list[str]], Tokenizer], text: str
) -> None:
    texts = [text] * 40
    made = view(texts, 1, 3, 100, _spans(tokenizer([text])))
    assert (
        made == view(texts, 1, 3, 100, _spans(tokenizer([text]))) != view(texts, 2, 3, 100, _spans(tokenizer([text])))
    )
    assert all(_is_part(one, text) for one in made)
    assert len(set(made)) > 10, "a text has many views"
    assert sum(one == text for one in made) < 20, "of few units all may stay"
    # 15 percent of the units go, and a quarter of the views begin further on.
    assert 0.6 < sum(map(len, made)) / (len(text) * len(made)) < 0.95


def test_a_unit_without_spaces_is_what_the_tokenizer_reads_as_a_piece() -> None:
    (spans,) = _spans(_unigram([CHINESE]))([CHINESE])
    parts = [unit.text for unit in units(CHINESE, spans)]
    assert "".join(parts) == CHINESE
    assert parts == [CHINESE[at : at + 2] for at in range(0, len(CHINESE), 2)]


def test_a_letter_keeps_its_marks_and_a_character_its_bytes() -> None:
    for tokenizer in (_word_piece, _unigram, _byte_level):
        (spans,) = _spans(tokenizer([THAI]))([THAI])
        parts = [unit.text for unit in units(THAI, spans)]
        assert "".join(parts) == THAI and len(parts) > 5
        assert not any(unicodedata.category(part[0]).startswith("M") for part in parts)
    (spans,) = _spans(_byte_level([CHINESE]))([CHINESE])
    assert [unit.text for unit in units(CHINESE, spans)] == list(CHINESE)


def test_words_in_the_midst_of_unspaced_text_stay_whole() -> None:
    (spans,) = _spans(_byte_level([JAPANESE]))([JAPANESE])
    parts = [unit.text for unit in units(JAPANESE, spans)]
    assert "Wi-Fi" in parts and "very" in parts and "カ" in parts
