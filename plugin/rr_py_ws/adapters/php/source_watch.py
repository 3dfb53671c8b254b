"""Workers are replaced when the files of their program change: RoadRunner's `reload`.

`watchfiles` looks at the files, in a thread for each pool, and holds no lock of the interpreter while it
waits. What it does not see is looked at here: a directory that is another one now, as after a deployment that
swaps a link, or one that was not there.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from watchfiles import Change, watch

from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.adapters.net.threads import in_thread
from rr_py_ws.config import Reload, ReloadService, missing_directories
from rr_py_ws.errors import WorkerStartError
from rr_py_ws.logs import get_logger

_LOOK_EVERY = 0.2
"""Seconds between two looks whether the directories are still the same."""
_END = 0.5
"""Seconds, at most, that a stop waits for a thread."""

log = get_logger("server")


class Resettable(Protocol):
    """A pool of workers."""

    async def reset(self) -> None:
        """Replace every worker; `WorkerStartError` when the new ones cannot be started."""


class SourceWatch:
    """Resets pools when files change.

    Args:
        pools: plugin -> its workers. Services of other plugins are not looked at.
        directory: what paths in the configuration are relative to.
    """

    def __init__(self, pools: Mapping[str, Resettable], directory: Path) -> None:
        self._pools = pools
        self._directory = directory
        self._interval = 0.0
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskSet("reload")
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._watchers: list[_Watcher] = []

    def watch(self, section: Reload | None) -> None:
        """Watch what a section names, and nothing else any more; returns at once."""
        self._end()
        if section is None:
            return
        self._interval = section.interval
        services = {name: one for name, one in section.services.items() if name in self._pools and one.dirs}
        for _, text in missing_directories(services, self._directory):
            log.warning("a directory of reload is missing", reason=text)
        for name, service in services.items():
            watcher = _Watcher(name, service, section.patterns, self._directory, self._report)
            self._watchers.append(watcher)
            watcher.start()

    async def stop(self) -> None:
        """Watch nothing any more; resets that have begun are cancelled."""
        ended = self._end()
        await self._tasks.cancel()
        for watcher in ended:
            await in_thread(watcher.join, _END)

    def _end(self) -> list[_Watcher]:
        """Have the threads end, which takes them a moment."""
        ended, self._watchers = self._watchers, []
        for watcher in ended:
            watcher.end()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        return ended

    def _report(self, name: str) -> None:
        """Have a pool reset when nothing more changes; called in any thread."""
        try:
            self._loop.call_soon_threadsafe(self._changed, name)
        except RuntimeError:  # the loop is closed already
            return

    def _changed(self, name: str) -> None:
        if not self._watchers:  # the last word of one that has ended
            return
        # An editor, git or Composer changes many files, and each begins the wait anew.
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()
        self._timers[name] = self._loop.call_later(self._interval, self._reset, name)

    def _reset(self, name: str) -> None:
        del self._timers[name]
        self._tasks.spawn(self._replace_workers(name))

    async def _replace_workers(self, name: str) -> None:
        try:
            await self._pools[name].reset()
        except WorkerStartError as error:
            log.error("files have changed, but the old workers stay", pool=name, reason=str(error))
        else:
            log.info("files have changed, workers were replaced", pool=name)


class _Watcher:
    """The thread that watches the directories of one service."""

    def __init__(
        self,
        name: str,
        service: ReloadService,
        patterns: tuple[str, ...],
        directory: Path,
        report: Callable[[str], None],
    ) -> None:
        self._name = name
        self._roots = [os.path.abspath(directory / entry) for entry in service.dirs]  # noqa: PTH100
        self._ignored = [os.path.abspath(directory / entry) for entry in service.ignore]  # noqa: PTH100
        self._patterns = (*service.patterns, *patterns)
        self._recursive = service.recursive
        self._report = report
        self._polls = False
        self._told = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"reload {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ending.set()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        watched = self._identities()
        while not self._ending.is_set():
            for _ in self._changes(watched):
                self._report(self._name)
            if (found := self._identities()) != watched:
                watched = found
                self._report(self._name)

    def _changes(self, watched: dict[str, tuple[int, int]]) -> Iterator[None]:
        """Yield for each change in these directories, until one is another or this ends."""
        if not watched:
            self._ending.wait(_LOOK_EVERY)
            return
        try:
            for changes in watch(
                *watched,
                watch_filter=self.counts,
                stop_event=self._ending,
                rust_timeout=int(_LOOK_EVERY * 1000),
                yield_on_timeout=True,
                raise_interrupt=False,
                recursive=self._recursive,
                ignore_permission_denied=True,
                force_polling=self._polls or None,
            ):
                if not self._told:
                    self._told = True
                    log.info("files are watched", pool=self._name, dirs=self._roots)
                if changes:
                    yield
                if self._identities() != watched:
                    return
        except FileNotFoundError:  # gone since they were looked at
            self._ending.wait(_LOOK_EVERY)
        except OSError as error:
            # The kernel's limit of watches; network file systems have none at all.
            text = "files cannot be watched by notifications, they are polled"
            log.warning(text, pool=self._name, reason=str(error))
            if self._polls:
                self._ending.wait(_LOOK_EVERY)
            self._polls = True

    def _identities(self) -> dict[str, tuple[int, int]]:
        """Return the directories that are there, each with what differs when it is another one."""
        found = {}
        for root in self._roots:
            try:
                status = os.stat(root)  # noqa: PTH116  follows links
            except OSError:
                continue
            found[root] = (status.st_dev, status.st_ino)
        return found

    def counts(self, _: Change, path: str) -> bool:
        """Whether a file is one of the program, by RoadRunner's rules."""
        if any(path == entry or path.startswith(f"{entry}{os.sep}") for entry in self._ignored):
            return False
        return any(pattern in os.path.basename(path) for pattern in self._patterns)  # noqa: PTH119
