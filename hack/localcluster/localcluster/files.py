"""Writes files that running components watch."""

from __future__ import annotations

from pathlib import Path


def write(file: Path, text: str, mode: int = 0o644) -> None:
    """Leaves a file alone that already says so: kube-proxy exits when its configuration is touched, and containerd
    loses sight of a CNI folder that is deleted and made again."""
    if file.exists() and file.read_text() == text:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.new")
    temporary.touch(mode=mode)  # before there is anything in it that others must not read
    temporary.chmod(mode)
    temporary.write_text(text)
    temporary.replace(file)
