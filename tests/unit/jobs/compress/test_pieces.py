"""Which pieces a smaller vocabulary needs: what can occur stays readable, and what cannot occur takes no room."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from kaon_jobs.compress.families.pieces import kept_tokens, remapped, token_ids
from kaon_jobs.compress.families.reading import Reading

CHINESE = "好坏吃店菜味道服务差很不错"
BERT = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
WHOLE = {"type": "BertPreTokenizer"}


def _word_piece(lowercase: bool = True, handle_chinese_chars: bool = True) -> Tokenizer:
    """As bert-base-chinese and multilingual BERT have it: each character twice, alone and continued, and more."""
    characters = [*"abcdefÉé1!", *CHINESE, "가"]
    pieces = ["[UNK]", *characters, *(f"##{one}" for one in characters), "abc", "##def", "好吃", "##不错", "好é"]
    made = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(handle_chinese_chars=handle_chinese_chars, lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def _described(tokenizer: Tokenizer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tokenizer.to_str())
    return found


def _trimmed(tokenizer: Tokenizer, used: set[str]) -> Tokenizer:
    described = _described(tokenizer)
    ids = token_ids(described)
    order = sorted(kept_tokens(described, used), key=lambda token: ids[token])
    return Tokenizer.from_str(json.dumps(remapped(described, order)))


def test_continued_pieces_of_characters_that_the_tokenizer_isolates_go() -> None:
    kept = set(_trimmed(_word_piece(), set()).get_vocab())
    assert kept >= {*CHINESE, "##a", "##f", "##1", "a", "1", "!"}
    assert not kept & {f"##{one}" for one in CHINESE}, "they cannot occur"
    assert not kept & {"##!", "##不错", "好吃", "É", "##É", "가", "##가"}


def test_they_stay_where_the_tokenizer_does_not_isolate_them() -> None:
    kept = set(_trimmed(_word_piece(handle_chinese_chars=False), set()).get_vocab())
    assert kept >= {*CHINESE, *(f"##{one}" for one in CHINESE)}


def test_upper_case_stays_where_the_tokenizer_keeps_it() -> None:
    assert set(_trimmed(_word_piece(lowercase=False), set()).get_vocab()) >= {"É", "##É", "é", "##é"}


def test_a_piece_that_the_texts_use_stays_whatever_is_thought_of_it() -> None:
    assert "##不错" in _trimmed(_word_piece(), {"##不错"}).get_vocab()


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("handled", [True, False])
def test_every_text_that_was_readable_stays_so(lowercase: bool, handled: bool) -> None:
    whole = _word_piece(lowercase, handled)
    small = _trimmed(whole, {"abc"})
    characters = [*"abcdefÉé1!A", *CHINESE, "가", "é"]
    for text in [one + other for one in characters for other in characters] + ["abcdef", "好吃不错!", "a好b坏c"]:
        before, after = whole.encode(text), small.encode(text)
        assert ("[UNK]" in after.tokens) == ("[UNK]" in before.tokens), text


def test_a_unigram_piece_of_characters_that_are_normalized_away_goes() -> None:
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("a", -3.0), ("b", -3.0), ("A", -3.0), ("aBz", -4.0), ("abz", -4.0)]
    made = Tokenizer(models.Unigram(pieces, 0, False))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    # "z" has no piece of its own, so the piece that holds it stays; with a "B" in it, it is never asked for.
    assert set(_trimmed(made, set()).get_vocab()) == {"<unk>", "▁", "a", "b", "abz"}


def test_characters_behind_others_are_found_by_asking_the_pre_tokenizer() -> None:
    every = set("aé1!-好가")
    bert = Reading({**BERT, "lowercase": True}, WHOLE)
    assert bert.possible(every) == set("a1!-好") and bert.possible_inside(every) == set("a1")
    plain = Reading(None, {"type": "WhitespaceSplit"})
    assert plain.possible(every) == plain.possible_inside(every) == every
    digits = Reading(None, {"type": "Digits", "individual_digits": True})
    assert digits.possible_inside(every) == every - {"1"}
