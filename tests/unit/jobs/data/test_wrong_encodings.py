"""Encodings that have no name in the API, and files of two encodings: refused or named by row, never read wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaon_jobs.errors import StageFailure

ENGLISH = ("it was a nice place", "the food was cold", "too loud at night", "great value", "never again", "we liked it")
RUSSIAN = ("Это было хорошее место, моя семья рада", "Обслуживание на высоте", "Не понравилось: шумно, еда холодная")
GERMAN = ("ein schöner Ort", "guter Service für alle", "es störte der Lärm", "höfliches Personal")
SPANISH = ("volveré", "servicio rápido", "la habitación", "está sucio")


def table(texts: tuple[str, ...]) -> str:
    return "text;label\r\n" + "".join(f"{text};{('neg', 'pos')[n % 2]}\r\n" for n, text in enumerate(texts))


@pytest.mark.parametrize(
    ("texts", "codec"),
    [
        (RUSSIAN, "mac_cyrillic"),
        (RUSSIAN, "cp866"),
        (RUSSIAN, "iso8859-5"),
        (tuple(map(str.upper, RUSSIAN)), "shift_jis"),
        *((tuple(map(str.upper, GERMAN)), codec) for codec in ("cp437", "cp850", "cp852", "cp857", "cp775")),
        *((SPANISH, codec) for codec in ("mac_roman", "mac_latin2", "mac_turkish", "mac_iceland")),
        (("chance for the criança", *ENGLISH, "informação"), "euc-jp"),
        (tuple(f"{text} 张伟" for text in (*ENGLISH, *ENGLISH)), "gbk"),
    ],
)
def test_text_in_an_encoding_that_cannot_be_told_is_refused(
    read: Any, tmp_path: Path, texts: tuple[str, ...], codec: str
) -> None:
    (tmp_path / "x.csv").write_bytes(table(texts).encode(codec))
    with pytest.raises(StageFailure) as caught:
        read("x.csv")
    assert caught.value.reason in ("EncodingUnknown", "SourceUnreadable")
    assert "spec.encoding" in caught.value.message


def test_rows_of_another_encoding_among_utf8_are_named(read: Any, tmp_path: Path) -> None:
    texts = ("déjà vu à l'été", "très bien", "ça va où")
    header, *rows = table(texts).splitlines(keepends=True)
    (tmp_path / "x.csv").write_bytes((header + "".join(rows) * 4).encode() + "".join(rows).encode("cp1252"))
    with pytest.raises(StageFailure, match=r"3 of 15 rows cannot be read\. Row 13 \(line 14\): bytes that are no text"):
        read("x.csv")


def test_a_single_row_of_utf8_among_another_encoding_is_not_read_in_that(read: Any, tmp_path: Path) -> None:
    texts = ("déjà vu à l'été", "très bien, ça", "c'est où, là-bas") * 8
    header, first, *rows = table(texts).splitlines(keepends=True)
    (tmp_path / "x.csv").write_bytes((header + "".join(rows)).encode("cp1252") + first.encode())
    with pytest.raises(StageFailure) as caught:
        read("x.csv")
    assert caught.value.reason == "EncodingUnknown"


def test_signs_and_letters_of_real_latin_text_are_still_read(read: Any, tmp_path: Path) -> None:
    texts = ("«Où ?» – l’été, 5 €", "CAFÉ\u00a0: très bon", "Noël… ça va", "prix : 3 ½ €", "déçu, “mensonge”")
    (tmp_path / "x.csv").write_bytes(table(texts).encode("cp1252"))
    found, (source,) = read("x.csv")
    assert (found.texts, source.readings[0].encoding) == (list(texts), "windows-1252")
