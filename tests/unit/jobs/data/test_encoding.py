"""Encodings: what is found out is right, and what leaves a doubt is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from kaon.api.dataset import Encoding
from kaon_jobs.data.encoding import Found
from kaon_jobs.errors import StageFailure

TEXTS = {
    "chinese": ("酒店的评论，太差了", "服务很好，房间干净", "一点都不好吃，差评", "物流很快，包装完整"),
    "traditional": ("飯店很乾淨，服務也很好", "電池壞了，客服態度很差", "這本書寫得非常精彩", "推薦大家購買"),
    "japanese": ("このホテルはとても良かったです", "電池がすぐに切れる", "サービスが悪い", "また買いたいと思います。"),
    "korean": ("호텔이 아주 좋았습니다", "배터리가 금방 닳아요", "서비스가 나쁘다", "다시 사고 싶어요 추천합니다"),
    "russian": ("Отель очень хороший", "Плохое обслуживание и грязный номер", "Больше не куплю никому"),
    "ukrainian": ("Готель дуже гарний", "Погане обслуговування і брудний номер", "Не раджу нікому, її їжа"),
    "greek": ("πολύ καλό ξενοδοχείο", "κακή εξυπηρέτηση και βρώμικο δωμάτιο", "δεν το συνιστώ σε κανέναν"),
    "hebrew": ("מלון טוב מאוד ונקי", "שירות גרוע וחדר מלוכלך", "לא ממליץ לאף אחד"),
    "french": ("très bon hôtel, café délicieux", "déçu, le garçon désagréable", "problème à chaque étage"),
    "german": ("sehr schönes Hotel, gute Küche", "laut und schäbig", "Größe passt, überraschend gut"),
    "spanish": ("muy buena habitación cómoda", "el baño está sucio", "¿por qué tan caro? mañana no"),
    "polish": ("zła obsługa, brudna łazienka", "polecam każdemu, książka świetna", "żółć, gęś"),
    "czech": ("velmi dobrý hotel, příjemná obsluha", "špinavý pokoj, večeře", "těším se na příště, kůň"),
    "turkish": ("çok güzel bir otel, kahvaltı harika", "oda kirliydi, ışık yoktu", "şoför gelmedi, büyük"),
}
WRITTEN = [
    ("chinese", "gb18030", "gb18030"),
    ("traditional", "cp950", "big5"),
    ("japanese", "cp932", "shift_jis"),
    ("japanese", "euc-jp", "euc-jp"),
    ("japanese", "iso-2022-jp", "iso-2022-jp"),
    ("korean", "cp949", "euc-kr"),
    ("russian", "cp1251", "windows-1251"),
    ("russian", "koi8-r", "koi8-r"),
    ("ukrainian", "cp1251", "windows-1251"),
    ("greek", "cp1253", "windows-1253"),
    ("french", "cp1252", "windows-1252"),
    ("german", "cp1252", "windows-1252"),
    ("spanish", "cp1252", "windows-1252"),
    ("polish", "cp1250", "windows-1250"),
    ("czech", "cp1250", "windows-1250"),
    ("turkish", "cp1254", "windows-1254"),
    *((language, codec, name) for language in TEXTS for codec, name in (
        ("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"), ("utf-32", "utf-32"),
    )),
]  # fmt: skip


def write(path: Path, language: str, codec: str) -> list[str]:
    texts = list(TEXTS[language])
    rows = "".join(f'"{text}",{"ab"[number % 2]}\n' for number, text in enumerate(texts))
    path.write_bytes(f"text,label\n{rows}".encode(codec))
    return texts


@pytest.mark.parametrize(("language", "codec", "name"), WRITTEN)
def test_a_few_rows_are_enough_to_find_the_encoding(
    read: Any, tmp_path: Path, language: str, codec: str, name: str
) -> None:
    texts = write(tmp_path / "x.csv", language, codec)
    table, (source,) = read("x.csv")
    assert table.texts == texts
    assert (source.readings[0].encoding, source.readings[0].encoding_by) == (name, "detected")


@pytest.mark.parametrize("codec", ["gb18030", "big5", "shift_jis", "euc-kr", "cp1251", "cp1250", "cp1253", "cp1254"])
@pytest.mark.parametrize("language", TEXTS)
def test_text_is_never_read_in_another_encoding_than_its_own(
    read: Any, tmp_path: Path, language: str, codec: str
) -> None:
    try:
        texts = write(tmp_path / "x.csv", language, codec)
    except UnicodeEncodeError:
        return
    try:
        table, _ = read("x.csv")
    except StageFailure as refused:
        assert "x.csv" in refused.message
        assert "spec.encoding" in refused.message
    else:
        assert table.texts == texts


def test_text_that_is_plausible_in_two_encodings_is_refused_with_both_names(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("text,label\ntrès bon,a\nproblème,b\nma mère,a\naprès,b\n".encode("cp1252"))
    with pytest.raises(
        StageFailure, match=r"plausible in windows-1252 and in windows-1250.*Set spec\.encoding"
    ) as caught:
        read("x.csv")
    assert caught.value.reason == "EncodingUnknown"
    assert read("x.csv", encoding="latin-1")[0].texts[0] == "très bon"


def test_a_single_byte_that_is_no_utf8_is_a_bad_row_and_no_encoding(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"text,label\n" + b"plain text,a\n" * 30 + b"fla\xd7 text,b\n")
    with pytest.raises(StageFailure, match=r"Row 31 \(line 32\): bytes that are no text in the file's encoding"):
        read("x.csv")


def test_a_header_that_holds_the_wanted_names_speaks_for_its_encoding(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("文本,标签\na,b\n".encode("gb18030"))
    schema = {"features": [{"name": "文本"}], "label": {"name": "标签"}}
    table, (source,) = read("x.csv", schema=schema)
    assert (table.texts, source.readings[0].encoding) == (["a"], "gb18030")


def test_bytes_behind_the_first_chunk_count_too(read: Any, tmp_path: Path) -> None:
    late = "".join(f"{text},b\n" for text in TEXTS["russian"])
    (tmp_path / "x.csv").write_bytes(b"text,label\n" + b"plain text,a\n" * 100_000 + late.encode("cp1251"))
    table, (source,) = read("x.csv")
    assert table.texts[-3:] == list(TEXTS["russian"])
    assert source.readings[0].encoding == "windows-1251"


@pytest.mark.parametrize("name", [name for name in get_args(Encoding) if name != "auto"])
def test_each_encoding_of_the_api_is_known(read: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "x.csv").write_bytes("text,label\nplain,a\n".encode(Found(name, "declared").codec))
    assert read("x.csv", encoding=name)[0].texts == ["plain"]


def test_json_lines_are_read_in_the_encoding_that_was_found(read: Any, tmp_path: Path) -> None:
    lines = "\n".join(f'{{"text": "{text}", "label": "a"}}' for text in TEXTS["chinese"])
    (tmp_path / "x.jsonl").write_bytes(lines.encode("gb18030"))
    assert read("x.jsonl")[0].texts == list(TEXTS["chinese"])
