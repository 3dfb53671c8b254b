"""Compression between the server and its clients, beyond the bytes of the conformance suite."""

from __future__ import annotations

import json
import os
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from signal import SIGINT

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate

from rr_py_ws.adapters.ws.protocol.deflate import Inflater, negotiate
from support.program import start as run_program
from support.waiting import eventually
from support.ws_peer import TEXT, Client, command, frame
from support.ws_site import NOTHING, Site, Start, living

OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
TAIL = b"\x00\x00\xff\xff"
RSV1 = 4


def deflate(data: bytes, level: int = 6) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


async def serve(start: Start) -> Site:
    return await start(compression_level=3, compression_min_size=100)


# Decompression alone


@given(st.binary(max_size=5000), st.integers(0, 9), st.lists(st.integers(0, 6000), max_size=5))
def test_a_message_comes_out_however_it_is_cut(data: bytes, level: int, cuts: list[int]) -> None:
    compressed = deflate(data, level)
    places = [0, *sorted(min(cut, len(compressed)) for cut in cuts), len(compressed)]
    parts = [compressed[a:b] for a, b in pairwise(places)]
    inflater = Inflater()
    seen = b"".join(
        inflater.inflate(part, len(data), last=n == len(parts) - 1) for n, part in enumerate(parts)
    )
    assert seen == data


@given(st.binary(max_size=300), st.integers(0, 1000))
def test_garbage_gives_a_message_within_the_limit_or_a_documented_error(data: bytes, limit: int) -> None:
    with suppress(ProtocolError, PayloadTooBig):
        assert len(Inflater().inflate(data, limit, last=True)) <= limit


@pytest.mark.parametrize("limit", [0, 1, 1000, 65536])
def test_a_bomb_takes_no_more_memory_than_the_limit(limit: int) -> None:
    bomb = deflate(bytes(50_000_000), 9)
    tracemalloc.start()
    with pytest.raises(PayloadTooBig):
        Inflater().inflate(bomb, limit, last=True)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * limit + 2 * len(bomb) + 20_000


@given(st.text(st.sampled_from('permessage-deflate;,=" 018_winoctaxkv\\\t')))
def test_whatever_is_offered_there_is_an_answer(offers: str) -> None:
    answer = negotiate(offers)
    assert answer is None or answer[0].startswith("permessage-deflate; server_no_context_takeover; ")


# On connections


async def test_a_message_is_compressed_once_for_all_connections_and_forms(start: Start) -> None:
    site = await serve(start)
    clients = [await site.open(OFFER) for _ in range(20)]
    clients += [await site.open(OFFER, "Sec-WebSocket-Protocol: rr.json") for _ in range(20)]
    clients += [await site.open() for _ in range(5)]
    for client in clients:
        await client.send(command("join", ["t"]))
        await client.frame()
    for _ in range(10):
        site.publish("t", b"x" * 1000)
    for client in clients[:40]:
        assert (await client.exactly(1)) == b"\xc1"
    metrics = {sample.name: sample.values.get(()) for sample in site.server.metrics()}
    assert metrics["handshakes_deflated"] == 40
    assert metrics["compressed_messages"] == 2 * 10
    assert 2 * 10 * 900 < (metrics["compressed_bytes_saved"] or 0) < 2 * 10 * 1026


@pytest.mark.usefixtures("no_collector")  # which first takes away what other tests have left
async def test_an_idle_connection_holds_nothing_for_compression(start: Start) -> None:
    """Not even the protocol core, for a browser that compresses its commands."""
    site = await serve(start)
    for _ in range(10):
        client = await site.open(OFFER)
        for n in range(3):
            await client.send(frame(TEXT, deflate(b'{"command":"join","topics":["t.%d"]}' % n), rsv=RSV1))
            assert await client.json() == {"topic": "@join", "payload": [f"t.{n}"]}
    assert living() == NOTHING | {"Connection": 10, "Session": 10}


@pytest.mark.parametrize("end", [Client.close, Client.reset, Client.end_writing])
@pytest.mark.usefixtures("no_collector")
async def test_a_connection_that_ends_inside_a_compressed_message_leaves_nothing(
    start: Start, end: Callable[[Client], None]
) -> None:
    site = await serve(start)
    before = living()
    client = await site.open(OFFER)
    first = deflate(os.urandom(20_000).hex().encode())
    await client.send(frame(TEXT, first[:20_000], fin=False, rsv=RSV1))
    assert await client.silent()
    assert living()["WebSocketProtocol"] == before["WebSocketProtocol"] + 1
    end(client)
    await eventually(lambda: living() == before)


async def test_an_uncompressed_small_message_is_read_without_the_core(start: Start) -> None:
    site = await serve(start)
    client = await site.open(OFFER)
    await client.send(command("join", ["a"]))
    await client.frame()
    assert living()["WebSocketProtocol"] == 0


# With a client that others wrote


@pytest.mark.parametrize("ours", [None, 9, 12, 15])
@pytest.mark.parametrize("theirs", [None, True, 9, 15])
@pytest.mark.parametrize("takeover", [False, True])
async def test_the_websockets_library_understands_and_is_understood(
    start: Start, ours: int | None, theirs: int | bool | None, takeover: bool
) -> None:
    site = await serve(start)
    offer = ClientPerMessageDeflateFactory(not takeover, not takeover, ours, theirs)
    async with connect(site.url, compression=None, extensions=[offer], proxy=None) as client:
        [extension] = client.protocol.extensions
        assert isinstance(extension, PerMessageDeflate)
        assert extension.remote_no_context_takeover and extension.local_no_context_takeover
        for size in (1, 50, 500, 50_000):
            await client.send(json.dumps({"command": "join", "topics": ["t"], "x": "y" * size}))
            assert json.loads(await client.recv()) == {"topic": "@join", "payload": ["t"]}
            site.publish("t", b"z" * size)
            assert json.loads(await client.recv()) == {"topic": "t", "payload": "z" * size}
        fragments = ['{"command":', '"leave","topics":["t"]}', "  "]
        await client.send(fragments)
        assert json.loads(await client.recv()) == {"topic": "@leave", "payload": ["t"]}


async def test_listen_understands_compressed_messages(start: Start, tmp_path: Path) -> None:
    site = await serve(start)
    listen = await run_program("listen", "news", "--url", site.url, cwd=tmp_path)
    assert listen.stdout is not None
    await eventually(lambda: "news" in site.hub)
    site.publish("news", b"x" * 1000)
    assert await listen.stdout.readline() == b"news\t%b\n" % (b"x" * 1000)
    assert site.server.websockets.counters.deflate.messages == 1
    listen.send_signal(SIGINT)
    await listen.communicate()
    assert listen.returncode == 0
