"""Small files stay in memory, and what is sent is nevertheless what is on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rr_py_ws.adapters.http.middleware import files, kept_files
from rr_py_ws.adapters.http.middleware.files import PIECE, File
from rr_py_ws.adapters.http.middleware.kept_files import KeptFiles

MODIFIED = 1_600_000_000

pytestmark = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="nobody can tell what is in memory")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The paths of the files that were opened; all files count as old ones."""
    paths: list[bytes] = []

    def count(path: bytes) -> File:
        paths.append(path)
        return files.open_file(path)

    monkeypatch.setattr(kept_files, "open_file", count)
    monkeypatch.setattr(kept_files, "_SETTLED", -(10**18))
    return paths


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield put(tmp_path / "a.css", b"body{}")
    descriptors = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    left = [os.readlink(link) for link in descriptors if os.path.lexists(link)]
    assert not [target for target in left if target.startswith(str(tmp_path))]


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    os.utime(path, (MODIFIED, MODIFIED))
    return path


async def content(kept: KeptFiles, path: Path) -> bytes:
    with kept.open(os.fsencode(path)) as file:
        return await file.read(0, file.size)


async def test_a_file_is_opened_once(path: Path, opened: list[bytes]) -> None:
    kept = KeptFiles()
    assert [await content(kept, path) for _ in range(3)] == [b"body{}"] * 3
    assert opened == [os.fsencode(path)]
    with kept.open(os.fsencode(path)) as file:
        assert await file.read(4, 1) == b"{"
        assert (file.size, file.modified) == (6, MODIFIED)


async def test_what_was_written_with_the_same_size_and_the_same_time_is_read_again(
    path: Path, opened: list[bytes]
) -> None:
    """rsync and tar set the times of the files that they write."""
    kept = KeptFiles()
    assert await content(kept, path) == b"body{}"
    put(path, b"BODY{}")
    assert await content(kept, path) == b"BODY{}"


async def test_a_file_that_takes_its_place_is_read(path: Path, opened: list[bytes]) -> None:
    kept = KeptFiles()
    await content(kept, path)
    os.rename(put(path.with_name("other"), b"123456"), path)
    assert await content(kept, path) == b"123456"
    os.unlink(path)
    with pytest.raises(FileNotFoundError):
        kept.open(os.fsencode(path))
    os.mkdir(path)
    with pytest.raises(FileNotFoundError):
        kept.open(os.fsencode(path))


async def test_rights_that_are_taken_away_count_at_once(path: Path, opened: list[bytes]) -> None:
    kept = KeptFiles()
    await content(kept, path)
    os.chmod(path, 0)
    with kept.open(os.fsencode(path)) if os.geteuid() == 0 else pytest.raises(PermissionError):
        assert len(opened) == 2


async def test_a_file_that_was_just_written_is_not_kept(
    path: Path, opened: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be written once more within what its times can tell apart."""
    monkeypatch.setattr(kept_files, "_SETTLED", 10**18)
    kept = KeptFiles()
    assert [await content(kept, path) for _ in range(2)] == [b"body{}"] * 2
    assert len(opened) == 2


async def test_a_large_file_is_not_kept(path: Path, opened: list[bytes]) -> None:
    put(path, bytes(PIECE + 1))
    kept = KeptFiles()
    assert [len(await content(kept, path)) for _ in range(2)] == [PIECE + 1] * 2
    assert len(opened) == 2


async def test_no_more_is_kept_than_there_is_room_for(
    path: Path, opened: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_files, "_MEMORY", 3000)
    paths = [path.with_name(f"{number}.css") for number in range(5)]
    for other in paths:
        put(other, b"x")
    kept = KeptFiles()
    for other in (*paths, *paths[3:]):
        assert await content(kept, other) == b"x"
    assert len(opened) == 5
    await content(kept, paths[0])
    assert len(opened) == 6
