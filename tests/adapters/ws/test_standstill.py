"""A process that stood still for longer than a limit (SIGSTOP, a paused machine) cuts nobody who kept it."""

from __future__ import annotations

from support.loops import both_loops
from support.standstill import stand_still
from support.waiting import eventually
from support.ws_peer import ACCEPT, CLOSE, PING, PONG, Client, close, frame, request
from support.ws_site import Start

pytestmark = both_loops

LIMIT = 0.3


async def freeze(client: Client, data: bytes) -> None:
    """Stand still for longer than the limit; the client's data arrive meanwhile."""
    await stand_still(1.2 * LIMIT, lambda: client._socket.send(data))


async def test_d18_a_client_whose_pong_is_in_its_socket_stays_and_a_silent_one_is_cut(start: Start) -> None:
    site = await start(ping_interval=LIMIT, ping_timeout=LIMIT)
    client, silent = await site.open(), await site.open()
    for _ in range(2):
        assert await client.frame() == (PING, b"")
        await freeze(client, frame(PONG, b""))
    await silent.ended()
    assert site.sample("silent_clients") == 1
    assert await client.frame() == (PING, b"")
    client.close()


async def test_a_request_whose_rest_is_in_its_socket_is_served_and_half_of_one_is_not(start: Start) -> None:
    for _ in range(2):
        site = await start(head_timeout=LIMIT)
        client, half = await site.connect(), await site.connect()
        head = request("/ws")
        await half.send(head[:-1])
        await client.send(head[:10])
        await eventually(lambda site=site: len(site.handshakes()) == 2)
        await freeze(client, head[10:])
        assert ACCEPT.encode() in await client.head()
        assert (await half.response()).status == 408


async def test_a_client_whose_close_frame_is_in_its_socket_ends_without_a_reset(start: Start) -> None:
    site = await start(close_timeout=LIMIT)
    for _ in range(2):
        client = await site.open()
        [connection] = site.connections()
        connection.close_going_away()
        answer = close(1001, "server is stopping")
        assert await client.frame() == (CLOSE, answer)
        await freeze(client, frame(CLOSE, answer[:2]))
        assert await client.rest() == b""
        client.close()
        await eventually(lambda: not site.connections())
