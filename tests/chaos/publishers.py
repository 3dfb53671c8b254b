"""Those who publish: some all the time, some until they are killed in the middle of a call."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from contextlib import suppress

from chaos.ledger import Ledger, topic_of
from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.errors import RPCError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.publish import Message
from rr_py_ws.wire.publish_protobuf import encode_broadcast
from rr_py_ws.wire.rpc import encode_request
from support.php import PHP
from support.waiting import DEADLINE

_PIPELINED = 8
_SIZES = (0, 50, 1000, 20_000)

_PHP = """
while (is_string($line = fgets(STDIN))) {
    [$topic, $payload] = explode(' ', rtrim($line, "\\n"));
    $broadcast->publish($topic, $payload);
    echo "accepted\\n";
}
"""


def message(publisher: str, number: int, dice: random.Random) -> Message:
    """Make a message of any size."""
    padding = "x" * dice.choices(_SIZES, (10, 10, 5, 1))[0]
    return Message("", [topic_of(number)], f"{publisher}:{number}:{padding}".encode())


async def publish_steadily(name: str, rpc: str, ledger: Ledger, dice: random.Random) -> None:
    """Publish, now one by one and now in pipelined bursts, until cancelled; every call must succeed."""
    async with await RPCClient.connect(rpc) as client:

        async def publish(number: int) -> None:
            await client.publish([message(name, number, dice)])
            ledger.accept(name, number)

        while True:
            async with asyncio.TaskGroup() as calls:
                for _ in range(dice.choice((1, 1, _PIPELINED))):
                    calls.create_task(publish(ledger.begin(name)))
            await asyncio.sleep(dice.expovariate(1 / 0.02))


async def publish_and_be_reset(name: str, rpc: str, ledger: Ledger, dice: random.Random) -> None:
    """Publish some messages, then reset the connection behind calls that are not answered, and half a one."""
    async with asyncio.timeout(DEADLINE), await RPCClient.connect(rpc) as client:
        for _ in range(dice.randrange(20)):
            number = ledger.begin(name)
            await client.publish([message(name, number, dice)])
            ledger.accept(name, number)

    host, _, port = rpc.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port))) as victim:
        victim.setblocking(False)
        bodies = [
            encode_broadcast([message(name, ledger.begin(name), dice)])
            for _ in range(dice.randrange(_PIPELINED))
        ]
        calls = [encode_request(1, "broadcast.Publish", body, Flag.PROTO) for body in bodies]
        half = encode_request(2, "broadcast.Publish", b"whatever", Flag.PROTO)[:-5]
        victim.send(b"".join(calls) + dice.choice((half, half, b"no frame")))
        await asyncio.sleep(dice.choice((0.0, 0.01)))
        victim.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def publish_from_php_and_be_killed(name: str, rpc: str, ledger: Ledger, dice: random.Random) -> None:
    """Publish from a PHP process that is killed a moment after it was told to publish once more."""
    php = PHP(_PHP, rpc)

    def tell() -> int:
        number = ledger.begin(name)
        _, (topic,), payload = message(name, number, dice)
        assert php.process.stdin
        php.process.stdin.write(f"{topic} {payload.decode()}\n")
        php.process.stdin.flush()
        return number

    try:
        assert php.process.stdout
        for _ in range(dice.randrange(1, 10)):
            number = tell()
            assert await asyncio.to_thread(php.process.stdout.readline) == "accepted\n"
            ledger.accept(name, number)
        tell()
        await asyncio.sleep(dice.uniform(0, 0.002))
    finally:
        php.process.kill()
        php.process.communicate()


async def reset_workers(rpc: str) -> None:
    """Have the PHP workers replaced."""
    with suppress(RPCError):  # a worker of the new pool may be killed while it starts
        async with await RPCClient.connect(rpc) as client:
            await client.call_json("resetter.Reset", "websockets", timeout=30)
