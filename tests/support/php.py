"""PHP processes that publish, as an application does outside of the server's own workers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from support.program import environment
from support.waiting import DEADLINE

REPOSITORY = Path(__file__).parents[2]

_PRELUDE = "require getenv('PHP_CLIENT') . '/autoload.php'; $broadcast = RRPyWs\\Broadcast::create();"


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
