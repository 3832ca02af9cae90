"""Datasets of images from end to end: folders, archives and Parquet in; splits, a card and refusals out."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import CLASSES, file_of, png, shape, shapes, write_folder, write_tar, write_zip
from PIL import Image

from kaon.contract.budgets import Budgets
from kaon_jobs.data import pictures as held
from kaon_jobs.data.splits import read_split
from kaon_jobs.errors import StageFailure

Make = Callable[..., Any]
SCHEMA = {"features": [{"name": "image", "type": "image"}], "label": {"name": "kind"}}
IMAGES: dict[str, Any] = {"task": "image-classification", "schema": SCHEMA}
DROP = {"unreadableRows": {"action": "drop", "max": 0.5}}


def refusal(make: Make, *sources: Any, **changes: Any) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        make(*sources, **{**IMAGES, **changes})
    assert caught.value.message.endswith(".")
    return caught.value


def rows_of(tmp_path: Path) -> dict[bytes, str]:
    """File -> class of each row of all splits."""
    found: dict[bytes, str] = {}
    for split in ("train", "validation", "test"):
        table = pq.read_table(tmp_path / ".work" / "dataset" / f"{split}.parquet")
        found.update(zip(table["image"].to_pylist(), table["label"].to_pylist(), strict=True))
    return found


def by_file(files: Mapping[str, bytes]) -> dict[bytes, str]:
    return {data: path.split("/")[-2] for path, data in files.items()}


def write_parquet(path: Path, files: Mapping[str, bytes], *, records: bool) -> None:
    """The files with their classes, as bytes or as data sets of Hugging Face have them."""
    images: list[Any] = list(files.values())
    kind = pa.binary()
    if records:
        images = [{"bytes": data, "path": name} for name, data in files.items()]
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    labels = [name.split("/")[-2] for name in files]
    pq.write_table(pa.table({"kind": labels, "image": pa.array(images, kind)}), path, row_group_size=7)


WAYS: dict[str, Callable[[Path, Mapping[str, bytes]], object]] = {
    "folder": write_folder,
    "x.zip": write_zip,
    "y.zip": lambda path, files: write_zip(path, {f"top/inner/{name}": data for name, data in files.items()}),
    "stored.zip": lambda path, files: write_zip(path, files, zipfile.ZIP_STORED),
    "x.tar": write_tar,
    "x.tar.gz": lambda path, files: write_tar(path, files, "w:gz"),
    "x.tgz": lambda path, files: write_tar(path, {f"./{name}": data for name, data in files.items()}, "w:gz"),
    "no-ending": write_zip,
    "x.parquet": lambda path, files: write_parquet(path, files, records=False),
    "records.parquet": lambda path, files: write_parquet(path, files, records=True),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_way_in_gives_the_same_rows(make: Make, tmp_path: Path, name: str) -> None:
    files = shapes(12)
    WAYS[name](tmp_path / name, files)
    found = make(name, **IMAGES).result.dataset
    assert rows_of(tmp_path) == by_file(files)
    assert found.classes == list(CLASSES) and found.rows.model_dump() == {"train": 24, "validation": 6, "test": 6}
    assert (found.quality.unreadable, found.quality.duplicates, found.quality.leakage) == (0, 0, 0)


def test_the_split_is_drawn_by_pixels_and_not_by_files(make: Make, tmp_path: Path) -> None:
    """Whoever packs the same images otherwise gets the same split."""

    def test_rows(files: Mapping[str, bytes], name: str) -> set[bytes]:
        write_zip(tmp_path / name, files)
        make(name, **IMAGES)
        rows = read_split(tmp_path / ".work" / "dataset", "test")
        (tmp_path / ".work").rename(tmp_path / f".{name}")
        return {Image.open(io.BytesIO(data)).tobytes() for data in rows.inputs}

    files = shapes(12)
    other = {f"x/{path}": file_of(Image.open(io.BytesIO(data)), compress_level=1) for path, data in files.items()}
    assert set(other.values()).isdisjoint(files.values())
    assert test_rows(files, "a.zip") == test_rows(other, "b.zip")


def test_the_split_file_holds_files_as_they_were_given(make: Make, tmp_path: Path) -> None:
    photo = file_of(Image.effect_noise((40, 30), 70).convert("RGB"), "JPEG")
    write_folder(tmp_path / "images", {**shapes(12), "bar/photo.jpg": photo})
    make("images", **IMAGES)
    path = tmp_path / ".work" / "dataset" / "train.parquet"
    assert pq.read_schema(path).names == ["image", "label", "label_id", "row_id", "source"]
    everything = [pq.read_table(path.with_name(f"{split}.parquet")) for split in ("train", "validation", "test")]
    sources = {row["source"]: row["image"] for table in everything for row in table.to_pylist()}
    assert sources[f"file:///mnt{tmp_path}/images/bar/photo.jpg"] == photo
    rows = read_split(path.parent, "train")
    assert (
        rows.inputs == everything[0]["image"].to_pylist()
        and rows.targets.tolist() == everything[0]["label_id"].to_pylist()
    )


def test_a_split_is_written_in_parts(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaon_jobs.programs.dataset.PART_BYTES", 1000)
    files = shapes(12)
    write_zip(tmp_path / "x.zip", files)
    make("x.zip", **IMAGES)
    assert pq.ParquetFile(tmp_path / ".work" / "dataset" / "train.parquet").num_row_groups > 2
    assert rows_of(tmp_path) == by_file(files)
    assert len(read_split(tmp_path / ".work" / "dataset", "train").inputs) == 24


def test_the_card_shows_images_of_each_class_and_what_they_are_like(make: Make, tmp_path: Path) -> None:
    photo = file_of(Image.effect_noise((90, 30), 70).convert("RGB"), "JPEG")
    write_folder(tmp_path / "images", {**shapes(12), "bar/photo.jpg": photo})
    made = make("images", **IMAGES)
    images = made.card["images"]
    assert images["width"]["0"] == images["width"]["0.5"] == 12 and images["width"]["1"] == 90
    assert images["formats"] == {"JPEG": 1, "PNG": 36} and images["colours"] == {"colour": 1, "grey": 36}
    drift = made.card["baseline"]["images"]
    assert sum(drift["brightness"]["counts"]) == sum(drift["longerSide"]["counts"]) == made.result.dataset.rows.train
    shown = re.findall(r'src="data:image/png;base64,([^"]*)"', made.page)
    assert len(shown) == 24 and all(f"Examples of {label}" in made.page for label in CLASSES)
    assert "its image is in the test split" in made.page and len(made.page) < 100_000
    assert "read as" in made.page and "image-folder (detected)" in made.page


def test_the_page_of_many_classes_and_large_images_stays_small(make: Make, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    files = {
        f"{label:03}/{number}.png": file_of(Image.fromarray(noise.integers(0, 255, (70, 70, 3)).astype(np.uint8)))
        for label in range(210)
        for number in range(3)
    }
    write_zip(tmp_path / "x.zip", files)
    made = make("x.zip", **IMAGES)
    assert made.page.count("<img ") == 200 and len(made.page) < 2_500_000
    assert "Examples of the first 200 of 210 classes are shown." in made.page


# -- duplicates and leaks ---------------------------------------------------------------------------------------------


def test_the_same_pixels_are_the_same_image(make: Make, tmp_path: Path) -> None:
    files = shapes(12)
    again = file_of(Image.open(io.BytesIO(files["bar/0000.png"])), compress_level=1)
    wrong = files["box/0001.png"]
    write_folder(tmp_path / "images", {**files, "bar/again.png": again, "dot/wrong.png": wrong})
    made = make("images", **IMAGES)
    quality = made.result.dataset.quality
    assert (quality.duplicates, quality.rows_read) == (2, 38)
    assert made.card["conflictingLabels"] == 1
    assert made.card["removed"]["duplicates"]["first"] == [
        f"file:///mnt{tmp_path}/images/bar/again.png",
        f"file:///mnt{tmp_path}/images/dot/wrong.png",
    ]
    assert "images that occur with more than one label" in made.page


def test_an_image_of_the_test_source_is_not_trained_on(make: Make, tmp_path: Path) -> None:
    write_folder(tmp_path / "train", shapes(12))
    write_folder(tmp_path / "test", {**shapes(3, first=50), "bar/seen.png": shape("bar", 4)})
    sources = [{"name": "train", "split": "train"}, {"name": "test", "split": "test"}]
    found = make(*sources, **IMAGES).result.dataset
    assert (found.quality.leakage_removed, found.quality.leakage, found.rows.test) == (1, 0, 10)


# -- rows that cannot be read -----------------------------------------------------------------------------------------

BROKEN = {
    "bar/cut.png": shape("bar", 99)[:120],
    "bar/empty.png": b"",
    "bar/text.png": b"no image",
    "box/moving.png": file_of(Image.new("L", (4, 4)), save_all=True, append_images=[Image.new("L", (4, 4), 255)]),
}


@pytest.mark.parametrize("name", ["folder", "x.zip", "x.tar.gz"])
def test_an_image_that_cannot_be_decoded_is_named_by_its_path(make: Make, tmp_path: Path, name: str) -> None:
    WAYS[name](tmp_path / name, {**shapes(12), **BROKEN})
    failure = refusal(make, name)
    assert failure.reason == "SourceUnreadable"
    uri = f"file:///mnt{tmp_path}/{name}"
    assert failure.message.startswith(f"{uri}: 4 of 40 rows cannot be read. ")
    for told in (
        "bar/cut.png: the file breaks off behind its header. ",
        "bar/empty.png: the file is empty. ",
        "bar/text.png: the file is neither JPEG nor PNG. ",
        "box/moving.png: the file is an animation. ",
        "Upload a whole JPEG or PNG file. Save it as one of these. Take one of its pictures. ",
        "Or set spec.clean.unreadableRows.action to drop and spec.clean.unreadableRows.max to 0.1 or more",
    ):
        assert told in failure.message


def test_images_that_cannot_be_decoded_are_left_out_and_counted_when_asked_to(make: Make, tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {**shapes(12), **BROKEN})
    made = make("x.zip", **IMAGES, clean=DROP)
    assert made.result.dataset.quality.unreadable == 4
    assert made.card["sources"][0]["unreadable"]["first"][0].endswith(
        "bar/cut.png: the file breaks off behind its header"
    )
    assert rows_of(tmp_path) == by_file(shapes(12))


def test_rows_of_parquet_without_bytes_are_named_by_their_number(make: Make, tmp_path: Path) -> None:
    files = shapes(12)
    images: list[Any] = [{"bytes": data, "path": None} for data in files.values()]
    images[3:6] = [{"bytes": None, "path": "a/b.png"}, None, {"bytes": b"x", "path": None}]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    labels = [name.split("/")[-2] for name in files]
    pq.write_table(pa.table({"kind": labels, "image": pa.array(images, kind)}), tmp_path / "x.parquet")
    message = refusal(make, "x.parquet").message
    assert (
        "2 of 36 rows cannot be read. Row 4: the column 'image' holds a path and no bytes. Row 6: the file" in message
    )
    found = make("x.parquet", **IMAGES, clean=DROP).result.dataset.quality
    assert (found.unreadable, found.missing) == (2, 1)


def test_a_file_of_too_many_bytes_is_an_unreadable_row(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("kaon_jobs.data.pictures", "kaon_jobs.data.image_folder"):
        monkeypatch.setattr(f"{module}.MAX_FILE_BYTES", 1000)
    large = {"bar/large.png": file_of(Image.effect_noise((64, 64), 90))}
    write_folder(tmp_path / "folder", {**shapes(12), **large})
    write_zip(tmp_path / "x.zip", {**shapes(12), **large})
    write_parquet(tmp_path / "x.parquet", {**shapes(12), **large}, records=False)
    for name in ("folder", "x.zip", "x.parquet"):
        told = refusal(make, name).message
        assert "1,000 is the limit. Scale the image down." in told and "1 of 37 rows" in told
    assert held.MAX_FILE_BYTES == 1000


# -- what is no image folder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "format_name", "reason", "told"),
    [
        (
            {"bar/README.md": b"hello"},
            "auto",
            "FormatUnknown",
            "bar/README.md is no JPEG or PNG file in a class",
        ),
        ({"bar/README.md": b"hello"}, "image-folder", "SourceUnreadable", "bar/README.md: the file is neither JPEG"),
        ({"x.png": png()}, "auto", "FormatUnknown", "x.png is no JPEG or PNG file in a class folder"),
        ({"x.png": png()}, "image-folder", "ImageFolderUnclear", "x.png of "),
        ({"more/bar/x.png": png()}, "auto", "ImageFolderUnclear", "such as its top and more. Name each of these as a"),
    ],
)
def test_a_folder_of_something_else_says_what_is_wrong(
    make: Make, tmp_path: Path, files: dict[str, bytes], format_name: str, reason: str, told: str
) -> None:
    write_folder(tmp_path / "images", {**shapes(4), **files})
    failure = refusal(make, "images", format=format_name)
    assert failure.reason == reason and told in failure.message


def test_splits_as_first_folders_are_sources_of_their_own(make: Make, tmp_path: Path) -> None:
    files = {f"train/{path}": data for path, data in shapes(12).items()}
    files |= {f"test/{path}": data for path, data in shapes(3, first=20).items()}
    write_folder(tmp_path / "images", files)
    failure = refusal(make, "images")
    assert failure.reason == "ImageFolderUnclear" and "(with `split`, where it is one)" in failure.message
    sources = [{"name": f"images/{split}", "split": split} for split in ("train", "test")]
    assert make(*sources, **IMAGES).result.dataset.rows.test == 9


@pytest.mark.parametrize(
    ("name", "data", "format_name", "told"),
    [
        (
            "x.csv",
            b"image,kind\n1,2\n",
            "auto",
            "is not a ZIP or tar archive of class folders with JPEG and PNG files, ",
        ),
        ("x.png", png(), "auto", "is not a ZIP or tar archive of class folders"),
        ("x.csv", b"image,kind\n1,2\n", "parquet", "is not Parquet. Upload"),
        ("x.parquet", b"PAR1", "image-folder", "is not a ZIP or tar archive of class folders"),
    ],
)
def test_a_file_of_something_else_says_what_is_wrong(
    make: Make, tmp_path: Path, name: str, data: bytes, format_name: str, told: str
) -> None:
    (tmp_path / name).write_bytes(data)
    failure = refusal(make, name, format=format_name)
    assert failure.reason == "FormatUnknown" and told in failure.message


@pytest.mark.parametrize("kind", [pa.string(), pa.int64(), pa.struct({"path": pa.string()})])
def test_a_column_of_something_else_is_refused(make: Make, tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"kind": ["a"], "image": pa.array([None], kind)}), tmp_path / "x.parquet")
    failure = refusal(make, "x.parquet")
    assert failure.reason == "ColumnTypeUnsupported" and "expected the bytes of images" in failure.message


# -- archives that mean harm ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:\\x\\y.png", "..\\x\\y.png", "\\\\host\\share\\x.png"]
)
@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
def test_a_member_that_leaves_the_archive_refuses_it(make: Make, tmp_path: Path, name: str, kind: str) -> None:
    WAYS[kind](tmp_path / kind, {**shapes(4), name: png()})
    failure = refusal(make, kind)
    assert failure.reason == "ArchiveUnsafe" and "leaves the archive. Write the archive anew" in failure.message


LINKS = {"symlink": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}


@pytest.mark.parametrize("kind", LINKS)
def test_a_link_or_a_device_in_a_tar_archive_refuses_it(make: Make, tmp_path: Path, kind: str) -> None:
    path = write_tar(tmp_path / "x.tar", shapes(4))
    member = tarfile.TarInfo("bar/link.png")
    member.type, member.linkname = LINKS[kind], "/etc/passwd"
    with tarfile.open(path, "a") as archive:
        archive.addfile(member)
    failure = refusal(make, "x.tar")
    assert failure.reason == "ArchiveUnsafe" and "bar/link.png" in failure.message


def test_a_link_in_a_zip_archive_refuses_it(make: Make, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", shapes(4))
    link = zipfile.ZipInfo("bar/link.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert refusal(make, "x.zip").reason == "ArchiveUnsafe"


def test_a_path_that_stands_twice_is_refused(make: Make, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", shapes(4))
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("bar/0000.png")
        member.size = len(png())
        archive.addfile(member, io.BytesIO(png()))
    assert "bar/0000.png twice" in refusal(make, "x.tar").message


def test_hidden_members_are_skipped_and_counted(make: Make, tmp_path: Path) -> None:
    hidden = {"__MACOSX/bar/._0000.png": b"x", "bar/.DS_Store": b"x", "_notes.txt": b"x"}
    write_zip(tmp_path / "x.zip", {**shapes(12), **hidden})
    made = make("x.zip", **IMAGES)
    assert made.card["sources"][0]["noticed"] == {"hidden": 3} and rows_of(tmp_path) == by_file(shapes(12))


@pytest.mark.parametrize("kind", ["x.zip", "x.tar.gz"])
def test_members_and_bytes_have_budgets(make: Make, tmp_path: Path, kind: str) -> None:
    WAYS[kind](tmp_path / kind, shapes(12))
    failure = refusal(make, kind, budgets=Budgets(archive_members=35))
    assert failure.reason == "SourceTooLarge"
    assert "has more than 35 members, and 35 is the limit" in failure.message
    assert "Helm value budgets.archiveMembers" in failure.message
    failure = refusal(make, kind, budgets=Budgets(decompressed_bytes=3000))
    assert failure.reason == "SourceTooLarge" and "3,000" in failure.message


@pytest.mark.parametrize("kind", ["x.zip", "x.tar.gz", "x.tar"])
def test_a_damaged_archive_is_refused(make: Make, tmp_path: Path, kind: str) -> None:
    WAYS[kind](tmp_path / kind, shapes(12))
    whole = (tmp_path / kind).read_bytes()
    (tmp_path / kind).write_bytes(whole[: len(whole) * 2 // 3])
    failure = refusal(make, kind)
    assert failure.reason == "SourceUnreadable" and "again" in failure.message


def test_an_encrypted_archive_and_other_compressions_are_refused(make: Make, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", shapes(4))
    changed = bytearray(path.read_bytes())
    # The flag of encryption in the first entry of the directory at the end.
    at = changed.index(b"PK\x01\x02")
    changed[at + 8] |= 1
    path.write_bytes(bytes(changed))
    assert "is encrypted: bar/0000.png needs a password" in refusal(make, "x.zip").message
    write_zip(tmp_path / "y.zip", shapes(4), zipfile.ZIP_BZIP2)
    assert "compressed by a method that is not read" in refusal(make, "y.zip").message


def test_the_same_images_give_the_same_bytes(make: Make, tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", shapes(12))
    first = make("x.zip", **IMAGES)
    before = {path.name: path.read_bytes() for path in (tmp_path / ".work" / "dataset").iterdir()}
    (tmp_path / ".work").rename(tmp_path / ".before")
    again = make("x.zip", **IMAGES)
    after = {path.name: path.read_bytes() for path in (tmp_path / ".work" / "dataset").iterdir()}
    assert before == after and json.dumps(first.card) == json.dumps(again.card)
