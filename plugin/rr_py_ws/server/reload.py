"""SIGHUP: the file is read again, and what can change in a running server changes.

A file that cannot be used leaves everything as it is. For each key that differs from what the server runs
with there is one line: it counts from now on, or after a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from rr_py_ws import config, logs
from rr_py_ws.adapters.http import server_context
from rr_py_ws.errors import ConfigError, RRWSError, all_of
from rr_py_ws.server.changes import Changes
from rr_py_ws.server.handed_on import HandedOn

log = logs.get_logger("app")


class Reloader:
    """Reads the file again when it is told to, one time after the other.

    Args:
        running: the configuration that the server was started with.
        read: reads the file as the start did.
        apply: gives a configuration to the parts of the server.
        look_at_certificates: loads those whose files have changed, also when the configuration has not.
        changes: which keys can change.
        tells: whether the log is told; of several processes that read one file, one tells.
        last: what other processes have taken last, for one that is newer than the file is usable.
    """

    def __init__(
        self,
        running: config.Config,
        read: Callable[[], config.Config],
        apply: Callable[[config.Config], None],
        look_at_certificates: Callable[[], Awaitable[None]],
        changes: Changes,
        *,
        tells: bool = True,
        last: HandedOn[config.Config] | None = None,
    ) -> None:
        self._running = dict(_flat(running))
        self._read = read
        self._apply = apply
        self._look_at_certificates = look_at_certificates
        self._changes = changes
        self._asked = asyncio.Event()
        self._tells = tells
        self._last = last
        self._has_taken = False

    def ask(self) -> None:
        """Read the file soon; asked several times meanwhile, once."""
        self._asked.set()

    async def run(self) -> None:
        """Do so whenever it is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                # A disk, or a directory service that expands a path, may be slow.
                found = await asyncio.to_thread(self._read_usable)
            except RRWSError as error:
                self._tell_unusable(error)
                if self._last is None or self._has_taken or (old := self._last.find()) is None:
                    continue
                found = old
            else:
                if self._last is not None and self._tells:
                    self._last.keep(found)
            self._has_taken = True
            self._take(found)
            await self._look_at_certificates()

    def _read_usable(self) -> config.Config:
        found = self._read()
        if problems := list(config.problems(found)):
            raise all_of(problems)
        if found.tls is not None:
            server_context(found.tls)
        return found

    def _tell_unusable(self, error: RRWSError) -> None:
        reasons = [one.located for one in error.errors] if isinstance(error, ConfigError) else [str(error)]
        for reason in reasons:
            self._tell("error", "configuration not read again, the old one counts", reason=reason)

    def _tell(self, level: str, text: str, **fields: object) -> None:
        if self._tells:
            getattr(log, level)(text, **fields)

    def _take(self, found: config.Config) -> None:
        read = dict(_flat(found))
        keys = dict.fromkeys((*self._running, *read))
        changed = [key for key in keys if self._running.get(key) != read.get(key)]
        if not changed:
            self._tell("info", "configuration read again, nothing is different")
            return
        # The level of the log may be among the keys: what one of the two levels shows is told at that one.
        hidden = not log.infos
        if hidden:
            self._apply(found)
        for key in changed:
            # Never its value, which may be a password.
            if not self._changes.can_change(key, found):
                self._tell("warning", "changed in the file, counts after a restart", key=key)
                continue
            self._tell("info", "changed, counts from now on", key=key)
            if key in read:
                self._running[key] = read[key]
            else:
                self._running.pop(key)
        if not hidden:
            self._apply(found)


def _flat(loaded: config.Config) -> Iterator[tuple[str, Any]]:
    """Yield every key of a configuration with its value."""
    return _keys("", loaded.model_dump(exclude={"path", "directory", "tree"}))


def _keys(path: str, found: Any) -> Iterator[tuple[str, Any]]:
    # A key that is empty, false or 0 is as good as absent, and so are all of a section that is.
    if isinstance(found, dict):
        for name, entry in found.items():
            yield from _keys(f"{path}.{name}" if path else str(name), entry)
    elif found:
        yield path, found
