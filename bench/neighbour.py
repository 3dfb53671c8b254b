"""`python -m bench.neighbour PORT`: answers every RPC call at once, as an idle RoadRunner would."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from bench.generator import HOST
from rr_py_ws.wire.goridge import FrameDecoder
from rr_py_ws.wire.rpc import encode_reply, parse_request

_OK = b"\x08\x01"


class Neighbour(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._decoder = FrameDecoder()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._decoder.receive_data(data)
        replies = []
        while (frame := self._decoder.next_frame()) is not None:
            replies.append(encode_reply(parse_request(frame), _OK))
        self._transport.write(b"".join(replies))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Neighbour, HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
