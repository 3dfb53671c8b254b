"""Beside an attacker of each kind, for a moment, so that attackers do not rot; `make bystander` measures."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from chaos.attackers.kinds import HERE, KINDS
from chaos.attackers.process import attacking
from chaos.attackers.site import StuckPipe, start_server
from chaos.browser import join
from chaos.bystander import HEADING, judge, read_table, row
from chaos.healthy import CLIENTS, Figures
from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.wire.publish import Message
from support.process import Server
from support.waiting import eventually

CALLS, MESSAGES_PER_CALL = 4, 5

StandingFor = Callable[[str], Server]


@pytest.fixture(scope="module")
def standing_for(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandingFor]:
    """Servers that attackers share, with workers and without; all must have behaved until the end."""
    with ExitStack() as stack:

        @cache
        def standing(workers: bool) -> Server:
            kinds = [kind for kind in HERE if KINDS[kind].workers == workers]
            server = start_server(tmp_path_factory.mktemp("server"), *kinds)
            stack.callback(server.end)
            server.wait_until_ready()
            return server

        yield lambda kind: standing(KINDS[kind].workers)


async def exchange(server: Server, kind: str) -> None:
    """A healthy client gets its messages beside an attacker, and is let go."""
    received: list[str] = []
    errors = server.errors()

    def take(topic: str, payload: str) -> None:
        received.append(payload)

    browser = await join(server.address, ["news"], take)
    async with await RPCClient.connect(server.rpc) as publisher, attacking(kind, server):
        for _ in range(CALLS):
            due = [f"{len(received) + number}" for number in range(MESSAGES_PER_CALL)]
            await publisher.publish(Message("", ["news"], payload.encode()) for payload in due)
            await eventually(lambda due=due: received[-1:] == due[-1:])
    assert received == [f"{number}" for number in range(CALLS * MESSAGES_PER_CALL)]
    await browser.close()
    assert browser.code == 1000
    assert server.errors() == errors  # here, so that we know of whom they are


@pytest.mark.parametrize("kind", HERE)
async def test_beside_an_attacker_messages_arrive(kind: str, standing_for: StandingFor) -> None:
    await exchange(standing_for(kind), kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in HERE])
async def test_a_log_that_nobody_reads_keeps_no_message_and_no_stop(kind: str, tmp_path: Path) -> None:
    with StuckPipe() as pipe:
        server = start_server(tmp_path, kind, log=pipe.file)
        try:
            server.wait_until_ready()
            pipe.fill()
            await exchange(server, kind)
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
        finally:
            server.kill()


GOOD = Figures(latency=0.0061, handshake=0.2, published=0.99, stop=1.04, told=CLIENTS)


@pytest.mark.parametrize(
    ("figures", "cells"),
    [
        (GOOD, ["6.1", "1.0x", "200", "99%", "1.0", "50"]),
        (
            Figures(1.5, 0.6, 0.79, 5.1, 49),
            ["**1,500.0**", "245.9x", "**600**", "**79%**", "**5.1**", "**49**"],
        ),
        (Figures(0.05, math.inf, 0.8, math.inf, 50), ["50.0", "8.2x", "**never**", "80%", "**never**", "50"]),
    ],
)
def test_a_figure_that_breaks_its_bound_is_bold(figures: Figures, cells: list[str]) -> None:
    assert list(map(str, judge(figures, GOOD))) == cells


def test_the_table_of_an_earlier_run_is_found_again() -> None:
    cells = ["1,500.0", "2.0x", "**600**", "79%", "5.1", "49"]
    page = f"# Reliability\n\n| pings | other |\n{row(HEADING)}\n{row(['pings', *cells])}\n"
    assert read_table(page) == {"pings": cells}
    both = [f"{cell} -> 1" for cell in cells]
    assert read_table(row(["pings", *both])) == {"pings": cells}
