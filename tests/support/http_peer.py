"""An HTTP client without a library, for the pages of `adapters.ops`."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from support.waiting import DEADLINE


class Answer(NamedTuple):
    """A response; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    text: str


async def exchange(address: str, data: bytes) -> bytes:
    """Send bytes to `host:port` and return all bytes until the server closes the connection."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        async with asyncio.timeout(DEADLINE):
            writer.write(data)
            return await reader.read()
    finally:
        writer.close()


async def get(address: str, path: str, *, method: str = "GET") -> Answer:
    """Make one request; the connection ends with the response."""
    request = f"{method} {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"
    data = await exchange(address, request.encode())
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    assert len(body) == (0 if method == "HEAD" else int(headers["content-length"]))
    return Answer(int(line.split(" ")[1]), headers, body.decode())
