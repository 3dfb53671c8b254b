"""The echo server does what test suites expect of one: the same message, of the same kind, comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator

import pytest

from support.blocking import BlockingClient
from support.ports import free_port
from support.waiting import DEADLINE, eventually_sync
from support.ws_peer import BINARY, CONTINUATION, TEXT, Client, frame, text


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """Where the echo server listens; it compresses for clients that want it."""
    address = "127.0.0.1", free_port()
    server = subprocess.Popen(
        (sys.executable, "-m", "conformance.echo_server", "--port", str(address[1]), "--compression"),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        eventually_sync(lambda: BlockingClient(address).close() is None, "the echo server listens")
        yield address
    finally:
        server.terminate()
        assert server.wait(DEADLINE) == 0


async def test_a_message_comes_back_as_the_kind_that_it_was(address: tuple[str, int]) -> None:
    client = await Client.connect(address)
    await client.upgrade()
    await client.send(frame(TEXT, "small"))
    assert await client.frame() == (TEXT, b"small")
    fragments = frame(BINARY, fin=False) + frame(CONTINUATION, b"\xff")
    await client.send(fragments + frame(TEXT) + frame(BINARY) + frame(TEXT, "last"))
    assert await client.frame() == (BINARY, b"\xff")
    assert await client.frame() == (TEXT, b"")
    assert await client.frame() == (BINARY, b"")
    assert await client.frame() == (TEXT, b"last")
    client.close()


async def test_a_message_that_becomes_shorter_comes_back_compressed(address: tuple[str, int]) -> None:
    client = await Client.connect(address)
    await client.upgrade("/ws", "Sec-WebSocket-Extensions: permessage-deflate")
    message = b"again and " * 100
    await client.send(frame(TEXT, message) + frame(TEXT, "a"))
    first, length = await client.exactly(2)
    assert first == 0x80 | 0x40 | TEXT
    assert zlib.decompressobj(wbits=-15).decompress(await client.exactly(length)) == message
    assert await client.exactly(3) == text("a")
    client.close()
