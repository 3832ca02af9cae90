"""Content tags of images: what changes them and what does not."""

from __future__ import annotations

from pathlib import Path

import images
import pytest

CONTAINERFILE = """\
# syntax comments and continuation lines are read as the builder reads them
ARG BASE=docker.io/library/python:3.12-slim-bookworm
FROM ${BASE}
RUN --mount=type=bind,source=requirements/jobs.lock,target=/jobs.lock \\
    --mount=type=secret,id=ca pip install -r /jobs.lock
COPY --chown=65532:65532 code/a.py \\
     code/package /app/
COPY --from=other /bin/tool /bin/tool
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("requirements/jobs.lock", "code/a.py", "code/package/b.py", "code/other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "Containerfile").write_text(CONTAINERFILE)
    return tmp_path


def tag(root: Path, base: str = "base:1") -> str:
    return images.content_tag(root, "Containerfile", base)


def test_the_files_of_an_image_are_those_that_it_copies(root: Path) -> None:
    assert images.files_copied(root, CONTAINERFILE) == ["code/a.py", "code/package/b.py", "requirements/jobs.lock"]


@pytest.mark.parametrize("name", ["code/a.py", "code/package/b.py", "requirements/jobs.lock", "Containerfile"])
def test_another_content_is_another_tag(root: Path, name: str) -> None:
    before = tag(root)
    (root / name).write_text((root / name).read_text() + "\n# changed")
    assert tag(root) != before


def test_another_base_is_another_tag(root: Path) -> None:
    assert tag(root, "base:1") != tag(root, "base:2")


def test_a_new_file_in_a_copied_folder_is_another_tag(root: Path) -> None:
    before = tag(root)
    (root / "code/package/c.py").write_text("new")
    assert tag(root) != before


def test_what_is_not_copied_changes_no_tag(root: Path) -> None:
    before = tag(root)
    (root / "code/other.py").write_text("changed")
    (root / "code/package/__pycache__").mkdir()
    (root / "code/package/__pycache__/b.cpython-311.pyc").write_bytes(b"\0")
    assert tag(root) == before


def test_a_copy_of_what_is_not_there_is_an_error(root: Path) -> None:
    with pytest.raises(images.ImageError, match="gone"):
        images.files_copied(root, "COPY gone /app/")


def test_bases_come_before_what_starts_from_them() -> None:
    assert images.with_bases(["torchserve", "jobs"]) == ["ml-base", "jobs", "torchserve"]


def test_an_unknown_image_is_named_with_those_there_are() -> None:
    with pytest.raises(images.ImageError, match="'job'; there are: ml-base, jobs"):
        images.with_bases(["job"])


def test_helm_values_name_the_images_of_the_chart_only() -> None:
    found = {"base": "localhost/debian:1", "ml-base": "localhost/kaon/ml-base:1", "jobs": "localhost/kaon/jobs:2"}
    assert images.helm_values(found) == {"images": {"jobs": {"repository": "localhost/kaon/jobs", "tag": "2"}}}


@pytest.mark.parametrize("image", images.IMAGES.values(), ids=lambda image: image.name)
def test_what_an_image_copies_is_part_of_the_context_that_it_is_built_from(image: images.Image) -> None:
    lines = (images.ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line.removeprefix("!") for line in lines if line.startswith("!")]
    copied = images.files_copied(images.ROOT, (images.ROOT / image.containerfile).read_text())
    left_out = [path for path in copied if not any(f"{path}/".startswith(f"{name}/") for name in let_in)]
    assert copied and left_out == []
