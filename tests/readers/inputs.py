"""Makes files of rows that are known, in a format, an encoding and a compression, and damages them. Pure.

A number and a seed make one input, always the same.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

WORDS: dict[str, list[str]] = {
    "ascii": ["the", "film", "was", "long", "and", "dull", "but", "its", "end", "made", "up", "for", "all", "before"],
    "chinese": ["酒店", "服务", "很好", "房间", "干净", "太差了", "差评", "推荐", "物流", "很快", "手机", "电池"],
    "japanese": ["この", "ホテル", "は", "とても", "良かった", "です", "電池", "が", "切れる", "サービス", "悪い"],
    "russian": ["отель", "очень", "хороший", "плохое", "обслуживание", "номер", "больше", "не", "куплю", "никому"],
    "french": ["très", "bon", "hôtel", "café", "délicieux", "déçu", "garçon", "problème", "à", "chaque", "étage"],
}
# Language -> how its files may be written: (codec of Python, name in spec.encoding).
CODECS: dict[str, list[tuple[str, str]]] = {
    "ascii": [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16")],
    "chinese": [("utf-8", "utf-8"), ("gb18030", "gb18030"), ("utf-16", "utf-16"), ("utf-8-sig", "utf-8")],
    "japanese": [("utf-8", "utf-8"), ("cp932", "shift_jis"), ("euc-jp", "euc-jp")],
    "russian": [("utf-8", "utf-8"), ("cp1251", "windows-1251"), ("koi8-r", "koi8-r")],
    "french": [("utf-8", "utf-8"), ("cp1252", "windows-1252"), ("latin-1", "latin-1")],
}
SPECIAL = ['"', "'", ",", ";", "|", "\t", "\n", '""', '","', "{", "}", "[]", "\\", "#"]
DELIMITERS = [",", ",", "\t", ";", "|"]
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: bytes(pa.Codec("zstd").compress(data)),
}
DAMAGES = ("none", "flip", "flip", "cut", "insert", "delete", "overwrite", "copy")
Row = tuple[str, str]


@dataclass(frozen=True)
class Input:
    """One file."""

    index: int
    name: str
    data: bytes
    rows: tuple[Row, ...]
    """What was written."""
    untouched: tuple[Row, ...] | None
    """The rows that no damage can have reached; None where that cannot be said."""
    codec: str
    damage: str
    changes: dict[str, object]
    """Fields of the Dataset's spec."""
    checksums: bool = False
    """Whether the file carries a checksum of its content, so that no damage goes unseen."""

    @property
    def exact(self) -> bool:
        """Whether all rows must come back as they were written, or the file be refused."""
        return self.damage == "none" or self.checksums


def make(seed: int, index: int) -> Input:
    """The input of this number."""
    draw = random.Random(f"{seed}:{index}")
    language = draw.choice(list(WORDS))
    kind = draw.choice(("csv", "csv", "tsv", "jsonl", "json", "parquet"))
    codec, encoding = ("utf-8", "utf-8") if kind == "parquet" else draw.choice(CODECS[language])
    rows = tuple(_row(draw, WORDS[language], number) for number in range(draw.randrange(8, 60)))
    changes: dict[str, object] = {}
    if kind != "parquet" and draw.random() < 0.5:
        changes["encoding"] = encoding
    if draw.random() < 0.7:
        changes["clean"] = {"unreadableRows": {"action": "drop", "max": 1}}
    checksums = kind == "parquet" and draw.random() < 0.5
    data, ends = (_parquet(draw, rows, checksums), []) if kind == "parquet" else _written(draw, kind, codec, rows)
    name, damage = f"x.{kind}", draw.choice(DAMAGES)
    if kind != "parquet" and draw.random() < 0.15:
        ending = draw.choice(list(COMPRESSIONS))
        data, ends, name = COMPRESSIONS[ending](data), [], f"{name}.{ending}"
        checksums = ending != "zst"
    return damaged(draw, Input(index, name, data, rows, None, codec, damage, changes, checksums), ends)


def _row(draw: random.Random, words: list[str], number: int) -> Row:
    parts = [*draw.choices(words, k=draw.randrange(2, 9)), str(number)]
    while draw.random() < 0.25:
        parts.insert(draw.randrange(len(parts) + 1), draw.choice(SPECIAL))
    return draw.choice((" ", "")).join(parts).strip(), draw.choice(("neg", "pos", "neutral"))


def _written(draw: random.Random, kind: str, codec: str, rows: tuple[Row, ...]) -> tuple[bytes, list[int]]:
    """The bytes, and where the header and each row end in them."""
    if kind in ("csv", "tsv"):
        pieces = _delimited(draw, "\t" if kind == "tsv" else draw.choice(DELIMITERS), rows)
    else:
        objects = [
            json.dumps({"id": number, "text": text, "label": label}, ensure_ascii=draw.random() < 0.3)
            for number, (text, label) in enumerate(rows)
        ]
        array = kind == "json"
        pieces = ["[" if array else "", *(f"{one},\n" if array else f"{one}\n" for one in objects)]
        if array:
            pieces[-1] = pieces[-1][:-2] + "]"
    ends, text = [], ""
    for piece in pieces:
        text += piece
        ends.append(len(text.encode(codec)))
    return text.encode(codec), ends


def _delimited(draw: random.Random, mark: str, rows: tuple[Row, ...]) -> list[str]:
    quoting = draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    end = draw.choice(("\n", "\r\n"))
    more = draw.random() < 0.5
    pieces = []
    for row in (("text", "label", "note"), *((*row, str(number)) for number, row in enumerate(rows))):
        buffer = io.StringIO()
        csv.writer(buffer, delimiter=mark, quoting=quoting, lineterminator=end).writerow(row if more else row[:2])
        pieces.append(buffer.getvalue())
    return pieces


def _parquet(draw: random.Random, rows: tuple[Row, ...], checksums: bool) -> bytes:
    texts, labels = (pa.array([row[at] for row in rows]) for at in (0, 1))
    kind = draw.choice((pa.string(), pa.large_string(), pa.binary()))
    table = pa.table({"text": texts.cast(kind), "label": labels})
    sink = io.BytesIO()
    compression = draw.choice(("none", "snappy", "zstd", "gzip"))
    pq.write_table(table, sink, compression=compression, row_group_size=20, write_page_checksum=checksums)
    return sink.getvalue()


def damaged(draw: random.Random, whole: Input, ends: list[int]) -> Input:
    """The input with its damage done, and the rows that stay out of its reach."""
    data = bytearray(whole.data)
    size = len(data)
    reach: list[tuple[int, int]] = []
    for _ in range(0 if whole.damage == "none" else draw.choice((1, 1, 1, 3))):
        at = draw.randrange(min(size, len(data)))
        length = min(draw.choice((1, 2, 4, 30)), len(data) - at)
        match whole.damage:
            case "flip":
                data[at] ^= 1 << draw.randrange(8)
                reach.append((at, at))
            case "overwrite":
                data[at : at + length] = draw.randbytes(length)
                reach.append((at, at + length))
            case "copy":
                other = draw.randrange(len(data) - length + 1)
                data[at : at + length] = data[other : other + length]
                reach.append((at, at + length))
            case "cut":
                del data[at:]
                reach.append((at, size))
                break
            case "insert":
                data[at:at] = draw.choice((draw.randbytes(length), b'"', b"\n", b",", b"\r", b"\0"))
                reach.append((at - 1, size if "16" in whole.codec else at + 1))
                break
            case "delete":
                del data[at : at + length]
                reach.append((at - 1, size if "16" in whole.codec else at + length + 1))
                break
    return replace(whole, data=bytes(data), untouched=_untouched(whole.rows, ends, reach))


def _untouched(rows: tuple[Row, ...], ends: list[int], reach: list[tuple[int, int]]) -> tuple[Row, ...] | None:
    if not ends or any(first < ends[0] for first, _ in reach):
        return None
    kept = []
    for number, row in enumerate(rows):
        # A broken line end joins a row and its neighbour.
        first = ends[max(number - 1, 0)]
        last = ends[min(number + 2, len(ends) - 1)]
        if all(end < first or start > last for start, end in reach):
            kept.append(row)
    return tuple(kept)
