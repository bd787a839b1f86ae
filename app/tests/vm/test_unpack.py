"""Archives of ours hold plain files; anything else is refused before a byte is written."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from skfleet.errors import IntegrityError
from skfleet.vm.unpack import unpack


def archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        good = tarfile.TarInfo("good")
        good.size = 2
        tar.addfile(good, io.BytesIO(b"ok"))
        for member in members:
            tar.addfile(member)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    result = tarfile.TarInfo(name)
    result.type = kind
    result.linkname = link
    return result


def test_files_are_where_the_archive_says(tmp_path: Path) -> None:
    folder = member("a", tarfile.DIRTYPE)
    folder.mode = 0o755
    unpack(archive(tmp_path / "t.tar", folder, member("a/b")), tmp_path / "out")
    assert (tmp_path / "out/good").read_bytes() == b"ok"
    assert (tmp_path / "out/a/b").is_file()


@pytest.mark.parametrize(
    "bad",
    [
        member("/etc/passwd"),
        member("../outside"),
        member("a/../../outside"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "good"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
    ],
    ids=lambda bad: bad.name,
)
def test_archive_with_anything_else_is_refused_whole(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    with pytest.raises(IntegrityError, match="does not belong"):
        unpack(archive(tmp_path / "t.tar", bad), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [0, 700, 5000])
def test_cut_off_archive_is_refused(tmp_path: Path, size: int) -> None:
    big = member("big")
    big.size = 9000
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.addfile(big, io.BytesIO(b"x" * 9000))
    (tmp_path / "t.tar").write_bytes((tmp_path / "t.tar").read_bytes()[:size])
    with pytest.raises(IntegrityError):
        unpack(tmp_path / "t.tar", tmp_path / "out")
