"""Connections that begin with TLS wait in the kernel until their hello is there, and then for their turn."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.attackers.handshakes import client_hello
from rr_py_ws.adapters.net.acceptor import Acceptor
from rr_py_ws.address import TCPAddress
from support.loops import both_loops
from support.tls import client_context, server_context
from support.waiting import eventually
from support.ws_peer import Client

pytestmark = both_loops

CLIENTS = 30


class Protocol(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


class Server:
    """Counts the connections that were accepted, and the handshakes that were begun, also in one turn."""

    def __init__(self, certificate: Path) -> None:
        self.accepted: list[Protocol] = []
        self.begun = self.most = self._before = 0
        self.acceptor = Acceptor(
            socket.create_server(("127.0.0.1", 0)), self._accept, tls=server_context(certificate)
        )
        begin = self.acceptor._begin

        def count(connection: socket.socket, protocol: asyncio.Protocol) -> None:
            self.begun += 1
            begin(connection, protocol)

        assert self.acceptor._hellos is not None
        self.acceptor._hellos._begin = count
        self._loop = asyncio.get_running_loop()
        self._next_look = self._loop.call_soon(self._look)

    def _accept(self, connection: socket.socket, peer: str) -> Protocol:
        self.accepted.append(Protocol())
        return self.accepted[-1]

    def _look(self) -> None:
        self._before, self.most = self.begun, max(self.most, self.begun - self._before)
        self._next_look = self._loop.call_soon(self._look)

    @property
    def address(self) -> tuple[str, int]:
        address = self.acceptor.address
        assert isinstance(address, TCPAddress)
        return address.host, address.port

    async def connect(self) -> Client:
        return await Client.connect(self.address)

    def close(self) -> None:
        self._next_look.cancel()
        self.acceptor.close()


@pytest.fixture
async def server(certificate: Path) -> AsyncIterator[Server]:
    server = Server(certificate)
    yield server
    server.close()


async def test_one_handshake_is_begun_in_a_turn(server: Server) -> None:
    """Three hundred at once had everybody wait: each takes a millisecond."""
    clients = [await server.connect() for _ in range(CLIENTS)]
    await asyncio.gather(*(client.send(client_hello()) for client in clients))
    for client in clients:
        assert (await client.exactly(1)) == b"\x16"
        client.close()
    await eventually(lambda: all(one.lost for one in server.accepted))
    assert (server.begun, server.most) == (CLIENTS, 1)


async def test_a_hello_that_comes_in_pieces_is_waited_for(server: Server) -> None:
    client, hello = await server.connect(), client_hello()
    for piece in (hello[:3], hello[3:50], hello[50:-1]):
        await client.send(piece)
        for _ in range(200):
            await asyncio.sleep(0)
        assert server.begun == 0
    await client.send(hello[-1:])
    assert (await client.exactly(1)) == b"\x16"
    client.close()
    await eventually(lambda: server.accepted[0].lost)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03", b"\x16\x03\x01\x02\x00abc"])
async def test_a_client_that_goes_before_its_hello_is_complete(server: Server, sent: bytes) -> None:
    client = await server.connect()
    await client.send(sent)
    client.close()
    await eventually(lambda: [one.lost for one in server.accepted] == [True])


async def test_what_is_no_tls_is_refused_at_once(server: Server) -> None:
    client = await server.connect()
    await client.send(b"GET / HTTP/1.1\r\n\r\n")
    await eventually(lambda: [one.lost for one in server.accepted] == [True])
    client.close()


async def test_a_usual_client_is_served(server: Server, certificate: Path) -> None:
    client = await Client.connect(server.address, tls=client_context(certificate))
    client.close()
    await eventually(lambda: server.accepted[0].lost)


async def test_a_connection_that_is_reset_behind_half_a_hello_does_not_wait(server: Server) -> None:
    """uvloop forgot it, and a stop waited for it until the end of its grace period."""
    with socket.create_connection(server.address) as client:
        client.sendall(client_hello()[:50])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # All of this has come before the loop looks at it.
    await eventually(lambda: server.accepted and server.accepted[0].lost)
