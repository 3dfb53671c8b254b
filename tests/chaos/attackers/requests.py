"""Those who ask for a WebSocket or a page in odd ways, and leave at any moment."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from itertools import cycle

from chaos.attackers.connection import (
    TEXT,
    Address,
    Attack,
    Connection,
    Stream,
    Target,
    close_all,
    deflate,
    frame,
    head,
    hit,
    message,
    pour,
)
from chaos.attackers.handshakes import client_hello

_MANY = 64
_BOMBING = 8
_OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"
_H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"


def odd_heads() -> Sequence[bytes]:
    """Requests that are unusual, or wrong, each in another way."""
    get = b"GET /ws HTTP/1.1\r\nHost: a\r\n"
    return [
        get + b"".join(b"A%d:\r\n" % number for number in range(1900)) + b"\r\n",
        get + b":\r\n" * 5000 + b"\r\n",
        get + b"X: a\r\n b\r\n" * 500 + b"\r\n",
        b"\r\n" * 8000 + head(),
        b"GET http://app.test/ws?" + b"%41" * 4000 + b" HTTP/1.1\r\nHost: app.test\r\n\r\n",
        b"GET /" + b"../" * 4000 + b"x.html HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /" + b"%2e%2e%2f" * 1500 + b"x.html HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /ws?"
        + b"&".join(b"a[%d]=" % number for number in range(1500))
        + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        f"GET /ws HTTP/1.1\r\nHost: a\r\n{_H2C}\r\n".encode(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(15_000),
        head(more="Sec-WebSocket-Extensions: " + "permessage-deflate;a," * 700 + "x\r\n"),
        head(more="Sec-WebSocket-Protocol: " + "a," * 7000 + "x\r\n"),
        head(more="Connection: " + "upgrade," * 1800 + "x\r\n"),
        head(more="X-Forwarded-For: " + "1.2.3.4," * 1900 + "x\r\n"),
        head(more="Origin: " + "http://" * 2000 + "\r\n"),
        b"GET /attacked.bin HTTP/1.1\r\nHost: a\r\nIf-None-Match: " + b'"a",' * 3500 + b'"b"\r\n\r\n',
        b"GET /attacked.bin HTTP/1.1\r\nHost: a\r\nAccept-Encoding: " + b"gzip;q=0.1," * 1400 + b"\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1;a=b\r\nx\r\n" * 1500,
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        + b"a:\r\n" * 4000
        + b"\r\n",
    ]


def odd_requests(target: Target) -> Iterator[None]:
    """Send `odd_heads` in turn."""
    for data in cycle(odd_heads()):
        yield from hit(target.web, data, count=16)


def half_closed(target: Target) -> Iterator[None]:
    """End our half at once: before a request, behind one, as a WebSocket, as a publisher."""
    opened: list[Connection] = []
    whats: list[tuple[Address, bytes]] = [
        (target.web, b""),
        (target.web, head()),
        (target.web, head()[:50]),
        (target.web, head() + message(TEXT, b'{"command":"join","topics":["a"]}', False)),
        (target.web, head() + frame(TEXT, b"x" * 60_000)[:30_000]),
        (target.tls, client_hello()),
        (target.rpc, b"\x15\x80"),
        (target.metrics, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
    ]
    try:
        for address, data in cycle(whats):
            connection = Connection(address)
            opened.append(connection)
            connection.send(data)
            connection.socket.shutdown(socket.SHUT_WR)
            if len(opened) > 500:
                opened.pop(0).close()
            yield
    finally:
        close_all(opened)


def resets(target: Target) -> Iterator[None]:
    """Reset in each phase: within the head, behind it, in the handshake of TLS, in a frame, in an answer."""
    join = message(TEXT, b'{"command":"join","topics":["a","b"]}', False)
    whole = head() + join
    tls = client_hello()
    whats = [(target.web, whole[:at]) for at in range(0, len(whole), 23)]
    whats += [(target.tls, tls[:at]) for at in range(0, len(tls), 101)]
    for address, data in cycle(whats):
        yield from hit(address, data, count=16, answer=False)


def slow_tls(target: Target) -> Iterator[None]:
    """Send the hello of TLS in pieces of a few bytes, through many connections."""
    hello = client_hello()
    while True:
        connections: list[Connection] = []
        try:
            while len(connections) < _MANY:
                connections.append(Connection(target.tls))
            for at in range(0, len(hello), 4):
                for connection in connections:
                    connection.send(hello[at : at + 4])
                yield
        finally:
            close_all(connections)


def closed_windows(target: Target) -> Iterator[None]:
    """Ask for much through windows that are closed at once: pages, metrics, answers to commands."""
    join = frame(TEXT, b'{"command":"join","topics":[%b"%b"]}' % (b'"x",' * 5000, b"x" * 1100))
    whats = [
        (target.web, b"GET /attacked.bin HTTP/1.1\r\nHost: a\r\n\r\n" * 50),
        (target.web, head() + join * 20),
        (target.metrics, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 50),
    ]
    opened: list[Connection] = []
    try:
        for address, data in cycle(whats):
            opened.append(Connection(address, receive_buffer=4096))
            opened[-1].send_some(data)
            if len(opened) > 200:
                opened.pop(0).close()
            yield
            time.sleep(0.002)
    finally:
        close_all(opened)


def bombs_in_fragments() -> bytes:
    """A message that inflates to as much as is allowed, in fragments of few bytes."""
    data = deflate(b'{"command":"join","topics":[%b""]}' % (b'"",' * 21_000))
    first = frame(TEXT, data[:1], fin=False, compressed=True)
    middle = [frame(0, data[at : at + 2], fin=False) for at in range(1, len(data), 2)]
    return b"".join((first, *middle, frame(0)))


def empty_blocks() -> bytes:
    """Compressed messages of nothing but empty blocks, which are much and make nothing."""
    return frame(TEXT, b"\x00\x00\x00\xff\xff" * 10_000 + b"\x00", compressed=True) * 4


def bombs(target: Target) -> Iterator[None]:
    """Send `bombs_in_fragments` and `empty_blocks`, also behind the request in one packet."""
    pieces = [bombs_in_fragments(), empty_blocks()]
    connections: list[Connection] = []
    try:
        while len(connections) < _BOMBING:
            connections.append(Connection(target.web))
            connections[-1].send(head(more=_OFFER) + pieces[0])
            yield
        yield from pour([Stream(one, piece) for one, piece in zip(connections, cycle(pieces), strict=False)])
    finally:
        close_all(connections)


REQUESTS: dict[str, Attack] = {
    "odd-requests": odd_requests,
    "half-closed": half_closed,
    "resets": resets,
    "slow-tls": slow_tls,
    "closed-windows": closed_windows,
    "deflated-fragments": bombs,
}
