"""Files are replaced whole: content, mode, durability, and nothing left of a failure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skfleet import files
from skfleet.files import new_directory, replace_file, replacement


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_file_has_its_content_and_mode_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "new/directory/state.json"
    before = os.umask(0o077)
    try:
        replace_file(path, b"one", mode=0o644)
    finally:
        os.umask(before)
    assert (path.read_bytes(), mode_of(path)) == (b"one", 0o644)
    replace_file(path, b"two", mode=0o600)
    assert (path.read_bytes(), mode_of(path)) == (b"two", 0o600)
    assert list(path.parent.iterdir()) == [path]


def test_open_reader_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    replace_file(path, b"old", mode=0o644)
    with path.open("rb") as reader:
        replace_file(path, b"new", mode=0o644)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_new_content_is_never_readable_by_others_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    with replacement(path, mode=0o644) as file:
        file.write(b"half")
        (half,) = tmp_path.iterdir()
        assert half != path
        assert mode_of(half) == 0o600


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_no_other(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "state.json"
    replace_file(path, b"old", mode=0o644)

    def fail() -> None:
        with replacement(path, mode=0o644) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_failure_to_replace_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.mkdir()  # a directory cannot be replaced by a file
    with pytest.raises(IsADirectoryError):
        replace_file(path, b"new", mode=0o644)
    assert list(tmp_path.iterdir()) == [path]


def test_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"others'")
    path.symlink_to(target)
    replace_file(path, b"ours", mode=0o644)
    assert (target.read_bytes(), path.read_bytes()) == (b"others'", b"ours")
    assert not path.is_symlink()


@pytest.mark.parametrize("durable", [True, False])
def test_durable_file_is_synced_before_the_rename_and_its_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    path = tmp_path / "object"
    synced: list[tuple[str, bytes, bool]] = []

    def fsync(descriptor: int) -> None:
        found = Path(f"/proc/self/fd/{descriptor}").readlink()
        kind = "directory" if found == tmp_path else "file"
        synced.append((kind, b"" if found.is_dir() else found.read_bytes(), path.exists()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    replace_file(path, b"whole", mode=0o644, durable=durable)
    assert synced == ([("file", b"whole", False), ("directory", b"", True)] if durable else [])


def test_directory_appears_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "cache/model"
    with new_directory(path, mode=0o750) as scratch:
        (scratch / "manifest.json").write_text("{}")
        assert not path.exists()
    assert [entry.name for entry in path.iterdir()] == ["manifest.json"]
    assert mode_of(path) == 0o750
    assert list(path.parent.iterdir()) == [path]


def test_directory_that_fails_is_removed(tmp_path: Path) -> None:
    def fail() -> None:
        with new_directory(tmp_path / "model") as scratch:
            (scratch / "half").write_text("")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_directory_with_content_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "mine").write_text("")
    with pytest.raises(OSError, match="not empty"), new_directory(path):
        pass
    assert [entry.name for entry in tmp_path.rglob("*")] == ["model", "mine"]
