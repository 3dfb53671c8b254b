"""900 clients that behave and 100 that do not: who behaves notices nothing."""

from __future__ import annotations

import asyncio

import pytest
from bench.generator import topic_name
from bench.misbehaving import WAYS, Mob

from chaos.browser import Browser, join
from chaos.storm import sample
from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.wire.publish import Message
from support.ports import free_port
from support.process import Server, Servers
from support.waiting import eventually

HEALTHY, MISBEHAVING = 900, 100
OF_EACH_KIND = MISBEHAVING // len(WAYS)
NEWS, FLOOD = (topic_name(number) for number in (0, 1))
ROUNDS = 24
KIB = 1024
MIB = 1024 * KIB
SEND_QUEUE = 64 * KIB
MOST_MEMORY = MISBEHAVING * (SEND_QUEUE + 64 * KIB) + 8 * MIB
"""What may wait for each, what its transport may hold, and something for the connections themselves."""
FLOODED = ROUNDS * MIB
"""What waits for those who do not read, if nothing bounds it; one of them is enough."""


class Reader:
    """A healthy client: it wants each number once and in order."""

    def __init__(self) -> None:
        self.count = 0
        self.wrong: list[str] = []

    def take(self, topic: str, payload: str) -> None:
        if (topic, payload) != (NEWS, f"{self.count}"):
            self.wrong.append(f"{topic}: {payload} instead of {self.count}")
        self.count += 1


async def connect_readers(server: Server) -> list[tuple[Browser, Reader]]:
    readers: list[tuple[Browser, Reader]] = []
    while len(readers) < HEALTHY:
        some = [Reader() for _ in range(50)]
        browsers = await asyncio.gather(*(join(server.address, [NEWS], reader.take) for reader in some))
        readers += zip(browsers, some, strict=True)
    return readers


def has_come(number: int, readers: list[tuple[Browser, Reader]]) -> bool:
    """Whether all healthy clients have got this number."""
    codes = [browser.code for browser, _ in readers if browser.closed.done()]
    assert codes == [], "these healthy clients were closed"
    return all(reader.count > number for _, reader in readers)


def are_found_out(server: Server, policy: str) -> bool:
    """Whether the server has dealt by itself with all who need it to."""
    slow = "rr_ws_slow_clients_total" if policy == "close" else "rr_ws_dropped_messages_total"
    return (
        sample(server, slow) >= 2 * OF_EACH_KIND  # stalled ones, with and without a window
        and sample(server, "rr_ws_silent_clients_total") >= OF_EACH_KIND
        and sample(server, "rr_ws_handshakes_refused_total") >= 2 * OF_EACH_KIND  # garbage, TLS
    )


def are_gone(server: Server, descriptors: int) -> bool:
    """Whether the server has nothing left of those who misbehaved."""
    names = ("connections", "subscriptions", "handshakes")
    metrics = [sample(server, f"rr_ws_{name}") for name in names]
    return metrics == [HEALTHY, HEALTHY, 0] and server.descriptors() <= descriptors


@pytest.mark.timeout(120)
@pytest.mark.parametrize("policy", ["close", "drop"])
async def test_who_behaves_gets_every_message_in_order_whatever_a_hundred_others_do(
    policy: str, servers: Servers
) -> None:
    """All get the news. Those who misbehave have asked for a flood, too, that nobody could keep for them."""
    server = servers.start(
        websockets={
            "limits": {"send_queue": SEND_QUEUE, "send_queue_policy": policy},
            "on_gap": "tell",
            "ping": {"interval": "3s", "timeout": "8s"},  # 900 answers at a time, from this one process
        },
        metrics={"address": f"127.0.0.1:{free_port()}"},
        logs={"level": "error"},
    )
    readers = await connect_readers(server)
    mob = Mob(server.address[1], [0, 1])
    async with await RPCClient.connect(server.rpc) as php:
        await php.publish([Message("", ["nobody"], b"")])  # by now the server has accepted the connection
        descriptors, memory, peak = server.descriptors(), server.memory(), 0
        await mob.gather(MISBEHAVING)
        for number in range(ROUNDS):
            await php.publish([Message("", [FLOOD], b"x" * (128 * KIB)) for _ in range(8)])
            await php.publish([Message("", [NEWS], b"%d" % number)])
            await eventually(lambda number=number: has_come(number, readers), pause=0.01)
            peak = max(peak, server.memory())
        await eventually(lambda: asyncio.to_thread(are_found_out, server, policy), pause=0.05)
        await mob.disperse()
        await eventually(lambda: asyncio.to_thread(are_gone, server, descriptors), pause=0.05)
    assert has_come(ROUNDS - 1, readers)
    assert [wrong for _, reader in readers for wrong in reader.wrong] == []
    assert peak - memory < MOST_MEMORY < FLOODED
    for browser, _ in readers:
        browser.reset()
