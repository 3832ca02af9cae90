"""Files that running components watch are touched only when they change."""

from __future__ import annotations

from pathlib import Path

from localcluster import files


def test_a_file_that_already_says_so_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "kube-proxy.json"
    files.write(file, "a")
    before = (file.stat().st_ino, file.stat().st_mtime_ns)
    files.write(file, "a")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == before
    files.write(file, "b")
    assert file.read_text() == "b"
    assert list(file.parent.iterdir()) == [file]


def test_a_secret_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    files.write(tmp_path / "kubeconfig", "key", mode=0o600)
    assert (tmp_path / "kubeconfig").stat().st_mode & 0o777 == 0o600
