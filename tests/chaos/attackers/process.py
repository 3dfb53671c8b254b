"""Starts an attacker and ends it."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from chaos.attackers.connection import BEGUN
from support.php import REPOSITORY
from support.process import Server
from support.waiting import DEADLINE


class Attacker:
    """An attacker's process.

    Args:
        kind: a name of `kinds.KINDS`.
        server: what it attacks; where it has no port for something the plain one is attacked.
    """

    def __init__(self, kind: str, server: Server) -> None:
        self._kind = kind
        http = server.config["http"]
        where = {
            "web": http["address"],
            "tls": http.get("ssl", http)["address"],
            "rpc": server.rpc.removeprefix("tcp://"),
            "metrics": server.config.get("metrics", http)["address"],
            "status": server.config.get("status", http)["address"],
        }
        places = [word for name, address in where.items() for word in (f"--{name}", address)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.attackers", kind, *places],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )

    def wait_until_begun(self) -> None:
        """Wait for the first piece of harm."""
        assert self._process.stdout
        poll = select.poll()  # our descriptor may have a number that is too large for select(2)
        poll.register(self._process.stdout, select.POLLIN)
        said = poll.poll(1000 * DEADLINE) and self._process.stdout.readline()
        assert said == f"{BEGUN}\n".encode(), f"the attacker {self._kind} does not begin"

    def end(self) -> None:
        """Kill it; it must not have ended by itself."""
        code = self._process.poll()
        self._process.kill()
        self._process.communicate()
        assert code is None, f"the attacker {self._kind} ended by itself, with exit code {code}"


@asynccontextmanager
async def attacking(kind: str | None, server: Server) -> AsyncIterator[None]:
    """Have an attacker beside a server, from its first piece of harm on; with None nobody."""
    if kind is None:
        yield
        return
    attacker = Attacker(kind, server)
    try:
        await asyncio.to_thread(attacker.wait_until_begun)
        yield
    finally:
        attacker.end()


async def attack_in_turn(kinds: Sequence[str | None], server: Server, seconds: float) -> None:
    """Have attackers beside a server, one after the other, over so many seconds in all; None is nobody."""
    for kind in kinds:
        async with attacking(kind, server):
            await asyncio.sleep(seconds / len(kinds))
