"""SIGTERM with many clients: `python -m chaos.drain [--connections N] [--drain DURATION] [--alone]`.

Each must have got every message that was accepted before, and then the close code 1001; the server must exit
with code 0. The same follows with a tenth of the clients, over a second, beside an attacker of each kind.
Exit code 1: it was not so.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import TimeoutExpired
from tempfile import TemporaryDirectory

from chaos.attackers.kinds import ANYWHERE, KINDS
from chaos.attackers.process import attacking
from chaos.attackers.site import GRACE, tls
from chaos.browser import Browser, join
from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.wire.publish import Message
from support.process import Server, configuration
from support.waiting import DEADLINE

MESSAGES = 20
_BESIDE_ATTACKERS = "1s"
"""`websockets.drain.time` there."""


@dataclass
class Farewell:
    """How a server ended.

    Attributes:
        exit_code: of the process.
        seconds: from the signal to the end of the process.
        closed: for each client, seconds from the signal to its close frame, in order.
        codes: close code -> clients that got it.
        complete: clients that got all messages first.
    """

    exit_code: int = -1
    seconds: float = 0.0
    closed: list[float] = field(default_factory=list)
    codes: Counter[int | None] = field(default_factory=Counter)
    complete: int = 0


async def stop_with_clients(server: Server, count: int, attacker: str | None = None) -> Farewell:
    """Connect so many clients to one topic, publish, and send SIGTERM as soon as all of it is accepted.

    Args:
        server: it runs, and does not afterwards.
        count: how many clients.
        attacker: the kind of one that is there once all clients are, and goes on.
    """
    farewell = Farewell()
    received = [0] * count
    connecting = asyncio.Semaphore(100)

    async def connect(number: int) -> Browser:
        def on_push(topic: str, payload: str) -> None:
            received[number] += payload == str(received[number])

        async with connecting:
            return await join(server.address, ["news"], on_push)

    browsers = await asyncio.gather(*map(connect, range(count)))
    async with attacking(attacker, server):
        for browser in browsers:
            browser.closed.add_done_callback(lambda _: farewell.closed.append(time.monotonic() - told))
        async with await RPCClient.connect(server.rpc) as rpc:
            await rpc.publish(Message("", ["news"], b"%d" % number) for number in range(MESSAGES))
        told = time.monotonic()
        server.signal(signal.SIGTERM)
        exit_code = asyncio.create_task(asyncio.to_thread(server.wait))
        exit_code.add_done_callback(lambda _: setattr(farewell, "seconds", time.monotonic() - told))
        for browser in browsers:
            await browser.closed
        farewell.exit_code = await exit_code
    farewell.codes.update(browser.code for browser in browsers)
    farewell.complete = received.count(MESSAGES)
    return farewell


def drain(count: int, time: str, attacker: str | None) -> bool:
    """Stop a server with so many clients, say how that went, and return whether it went well.

    Args:
        count: how many clients.
        time: `websockets.drain.time`.
        attacker: the kind of one that is there, or None.
    """
    with TemporaryDirectory() as name:
        directory = Path(name)
        worker = "attacked.php" if attacker and KINDS[attacker].workers else None
        websockets = {"drain": {"time": time}, "compression": "on"}
        sections = {"http": tls(directory), "websockets": websockets, "logs": {"level": "info"}}
        if (
            attacker
        ):  # most never answer the close frame, and are waited for as long as the grace period allows
            sections["endure"] = {"grace_period": f"{GRACE}s"}
        config = configuration(worker, **sections)
        server = Server(directory, config)
        try:
            server.wait_until_ready()
            farewell = asyncio.run(stop_with_clients(server, count, attacker))
        except TimeoutExpired:
            print(f"{attacker or '(nobody)':24} has not stopped after {DEADLINE:g} s", flush=True)
            return False
        finally:
            server.kill()
    codes = ", ".join(f"{code}: {count:,}" for code, count in farewell.codes.items())
    print(
        f"{attacker or '(nobody)':24} exit code {farewell.exit_code} after {farewell.seconds:.2f} s,"
        f" close codes {codes} from {farewell.closed[0]:.2f} to {farewell.closed[-1]:.2f} s after the signal,"
        f" all {MESSAGES} messages first: {farewell.complete:,}",
        flush=True,
    )
    return (farewell.exit_code, farewell.codes[1001], farewell.complete) == (0, count, count)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.drain", description=__doc__)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument(
        "--drain", default="3s", metavar="DURATION", help="websockets.drain.time, without attackers"
    )
    parser.add_argument("--alone", action="store_true", help="without attackers")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    good = drain(options.connections, options.drain, None)
    for attacker in () if options.alone else ANYWHERE:
        good &= drain(options.connections // 10, _BESIDE_ATTACKERS, attacker)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
