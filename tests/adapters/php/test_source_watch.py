"""Which changes of files have workers replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from watchfiles import Change

from rr_py_ws.adapters.php import source_watch
from rr_py_ws.adapters.php.source_watch import SourceWatch
from rr_py_ws.config import Reload, ReloadService
from rr_py_ws.errors import WorkerStartError
from support.recorded import Lines
from support.waiting import eventually


class Pool:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.resets = 0
        self.error: WorkerStartError | None = None

    async def reset(self) -> None:
        self.resets += 1
        if self.error:
            raise self.error


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Lines:
    recorded = Lines()
    monkeypatch.setattr(source_watch, "log", recorded)
    monkeypatch.setattr(source_watch, "_LOOK_EVERY", 0.01)
    return recorded


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """`app`, with a directory in it, and one that is ignored."""
    app = tmp_path / "app"
    for name in ("deep/er", "vendor"):
        (app / name).mkdir(parents=True)
    return app


@pytest.fixture
async def watch(pool: Pool, app: Path, log: Lines) -> AsyncIterator[SourceWatch]:
    watch = SourceWatch({"websockets": pool}, app.parent)
    yield watch
    await watch.stop()


def section(interval: float = 0.01, dirs: tuple[str, ...] = ("app",), **service: Any) -> Reload:
    service = {"recursive": True, "ignore": ("app/vendor", "app/own.php"), **service}
    return Reload(
        interval=interval,
        services={"websockets": ReloadService(dirs=dirs, **service), "jobs": ReloadService()},
    )


async def change(path: Path, pool: Pool) -> None:
    """Write a file until the pool has noticed: nobody tells when the kernel begins to watch."""
    before = pool.resets

    def write_and_look() -> bool:
        path.write_text("<?php")
        return pool.resets > before

    await eventually(write_and_look, f"a reset because of {path}", pause=0.1)


@pytest.mark.parametrize("name", ["a.php", "deep/er/b.php", "deep/c.phpt"])
async def test_a_file_with_a_pattern_in_its_name_counts(
    watch: SourceWatch, pool: Pool, app: Path, log: Lines, name: str
) -> None:
    watch.watch(section())
    await change(app / name, pool)
    assert "files have changed, workers were replaced websockets" in log.lines


async def test_other_names_and_what_is_ignored_do_not_count(watch: SourceWatch, app: Path) -> None:
    watch.watch(section(patterns=(".yaml",)))
    (watcher,) = watch._watchers
    names = ("a.php", "a.yaml", "a.log", "vendor/a.php", "own.php", "vendors.php")
    seen = [name for name in names if watcher.counts(Change.modified, str(app / name))]
    assert seen == ["a.php", "a.yaml", "vendors.php"]


async def test_without_recursive_only_the_directory_itself_counts(
    watch: SourceWatch, app: Path, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def counts(_: Any, change: Change, path: str) -> bool:
        looked_at.append(path)
        return True

    monkeypatch.setattr(source_watch._Watcher, "counts", counts)
    watch.watch(section(recursive=False))
    await eventually(lambda: any("files are watched" in line for line in log.lines))
    (app / "deep" / "er" / "a.php").write_text("")
    (app / "deep" / "a.php").write_text("")
    (app / "a.php").write_text("")
    await eventually(lambda: str(app / "a.php") in looked_at)
    assert not any("a.php" in path and "deep" in path for path in looked_at)


async def test_a_directory_that_is_swapped_counts_and_is_watched(
    watch: SourceWatch, pool: Pool, tmp_path: Path
) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    (tmp_path / "current").symlink_to("1")
    watch.watch(section(dirs=("current",)))
    await change(tmp_path / "1" / "a.php", pool)
    before = pool.resets
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "current")
    await eventually(lambda: pool.resets > before)
    await change(tmp_path / "2" / "a.php", pool)


async def test_a_directory_that_is_missing_is_told_and_watched_when_it_is_there(
    watch: SourceWatch, pool: Pool, tmp_path: Path, log: Lines
) -> None:
    watch.watch(section(dirs=("later",)))
    (line,) = log.lines
    assert 'reload.services.websockets.dirs: found "later", which is not a directory' in line
    (tmp_path / "later").mkdir()
    await change(tmp_path / "later" / "a.php", pool)


async def test_workers_that_cannot_be_started_leave_the_old_ones_and_the_next_change_is_seen(
    watch: SourceWatch, pool: Pool, app: Path, log: Lines
) -> None:
    watch.watch(section())
    pool.error = WorkerStartError("a parse error")
    await change(app / "a.php", pool)
    assert "files have changed, but the old workers stay websockets a parse error" in log.lines
    pool.error = None
    await change(app / "a.php", pool)


async def test_changes_in_a_row_have_workers_replaced_once(watch: SourceWatch, pool: Pool, app: Path) -> None:
    watch.watch(section(interval=60.0))
    timers = watch._timers
    for name in ("a.php", "b.php"):
        before = timers.get("websockets")
        await eventually(
            lambda name=name, before=before: (  # type: ignore[misc]
                (app / name).write_text("<?php") and timers.get("websockets") is not before
            ),
            pause=0.1,
        )
        assert before is None or before.cancelled()
    assert pool.resets == 0


async def test_another_section_replaces_the_first(watch: SourceWatch, pool: Pool, app: Path) -> None:
    watch.watch(section())
    watch.watch(section(dirs=("app/deep",)))
    await change(app / "deep" / "a.php", pool)
    watch.watch(None)
    assert watch._watchers == []


async def test_without_notifications_files_are_polled(
    watch: SourceWatch, pool: Pool, app: Path, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the kernel's limit of watches is reached."""
    real = source_watch.watch

    def limited(*args: Any, force_polling: bool | None, **options: Any) -> Any:
        if not force_polling:
            raise OSError("OS file watch limit reached")
        return real(*args, force_polling=True, **options)

    monkeypatch.setattr(source_watch, "watch", limited)
    watch.watch(section())
    await change(app / "a.php", pool)
    text = "files cannot be watched by notifications, they are polled"
    assert log.lines[0] == f"{text} websockets OS file watch limit reached"
