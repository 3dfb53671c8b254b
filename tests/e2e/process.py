"""Processes and the waiting for them."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from support.patience import DEADLINE
from support.program import environment

REPOSITORY = Path(__file__).parents[2]

_PRELUDE = "require getenv('PHP_CLIENT') . '/autoload.php'; $broadcast = RRPyWs\\Broadcast::create();"


def eventually(check: Callable[[], object], what: str) -> None:
    """Wait until something is true that nobody tells us about."""
    deadline = time.monotonic() + DEADLINE
    while not check():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


class Lines:
    """What a process writes to a pipe, line by line, as it comes."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            with self._changed:
                self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._lines)

    def __str__(self) -> str:
        return "\n".join(self._lines)

    def having(self, text: str, since: int = 0) -> list[str]:
        """The lines so far that have this text."""
        return [line for line in self._lines[since:] if text in line]

    def wait_for(self, text: str, *, count: int = 1, since: int = 0) -> str:
        """Wait for a line with this text; for the last one of several with `count`."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self.having(text, since)) >= count, DEADLINE)
        found = self.having(text, since)
        assert len(found) >= count, f"{len(found)} of {count} lines with {text!r}, in:\n{self}"
        return found[count - 1]

    def close(self) -> None:
        """Take the rest, after the end of the process."""
        self._thread.join(DEADLINE)
        self._pipe.close()


class PHP:
    """PHP code that runs in a process of its own, no child of the server; `$broadcast` publishes to it."""

    def __init__(self, code: str, rpc: str) -> None:
        self.process = subprocess.Popen(
            ["php", "-d", "display_errors=stderr", "-r", _PRELUDE + code],
            env=environment(RR_RPC=rpc, PHP_CLIENT=str(REPOSITORY / "php-client")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str) -> str:
        """Send a line to its stdin, and wait for one from its stdout."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def end(self) -> str:
        """Close its stdin, wait for its end, and return what else it printed."""
        try:
            out, err = self.process.communicate(timeout=DEADLINE)
        finally:
            self.process.kill()
        assert (self.process.returncode, err) == (0, ""), f"{err}{out}"
        return out


StartPHP = Callable[..., PHP]
