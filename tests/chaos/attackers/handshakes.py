"""Those who come to the door again and again, and those who do not get in."""

from __future__ import annotations

import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import cycle

from chaos.attackers.connection import Address, Attack, Connection, Target, close_all, head, hit

_TRICKLING = 200
_HELLOS = 300
_UNREAD = 200
_UNREAD_BUFFER = 4096


def _web(target: Target) -> Address:
    return target.web


def hitting(data: bytes, where: Callable[[Target], Address] = _web, *, answer: bool = True) -> Attack:
    """Attack by connections that send this and are reset."""

    def attack(target: Target) -> Iterator[None]:
        while True:
            yield from hit(where(target), data, answer=answer)

    return attack


def bad_heads(target: Target) -> Iterator[None]:
    """Send requests that are refused, each for another reason, and some that are none."""
    noise = random.Random(0).randbytes(4000)
    many = "".join(f"X-{number}: {number}\r\n" for number in range(800))
    bad = (
        noise + b"\r\n\r\n",
        head(more=many),
        head(more="X-Long: " + "x" * 20_000 + "\r\n"),
        head().replace(b"Version: 13", b"Version: 8"),
        head().replace(b"GET /ws", b"GET ws"),
        b"POST /ws HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\n" + noise,
    )
    for data in cycle(bad):
        yield from hit(target.web, data)


def trickled_heads(target: Target) -> Iterator[None]:
    """Send many heads at the same time, a byte of each in turn, without an end."""
    connections: list[Connection] = []
    try:
        while len(connections) < _TRICKLING:
            connections.append(Connection(target.web))
        for byte in cycle(head().removesuffix(b"\r\n") + b"X-More: more\r\n"):
            for number, connection in enumerate(connections):
                try:
                    connection.send(bytes((byte,)))
                except OSError:  # the head has become too long, or has taken too long
                    connection.close()
                    connections[number] = Connection(target.web)
            yield
    finally:
        close_all(connections)


@cache
def client_hello() -> bytes:
    """What a client of TLS sends first."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def half_tls(target: Target) -> Iterator[None]:
    """Begin with TLS and go no further: after a whole hello, which the server works for, and half of one."""
    while True:
        for data in (client_hello(), client_hello()[:50]):
            yield from hit(target.tls, data, answer=data == client_hello())


def tls_hellos(target: Target) -> Iterator[None]:
    """Begin with TLS three hundred times at once, and go no further than the server's answer."""
    while True:
        yield from hit(target.tls, client_hello(), count=_HELLOS)


def unread_refusals(target: Target) -> Iterator[None]:
    """Be refused with a page of 1 MiB and never read it, through windows that are closed at once."""
    waiting: deque[Connection] = deque()
    request = head("?page")
    try:
        while True:
            waiting.append(Connection(target.web, receive_buffer=_UNREAD_BUFFER))
            waiting[-1].send_some(request)
            if len(waiting) > _UNREAD:
                waiting.popleft().close()
            yield
            time.sleep(0.002)
    finally:
        close_all(waiting)


def cookies() -> bytes:
    """A head that is full of cookies, each as small as can be."""
    return head(more=f"Cookie: {'; '.join(f'{number:x}=' for number in range(2600))}\r\n")


def noisy_worker(target: Target) -> Iterator[None]:
    """Have a PHP worker write a hundred thousand short lines to stderr, and again when it has."""
    while True:
        yield from hit(target.web, head("?stderr"), count=1)


HANDSHAKES: dict[str, Attack] = {
    "connects": hitting(b"", answer=False),
    "upgrades": hitting(head()),
    "bad-heads": bad_heads,
    "trickled-heads": trickled_heads,
    "half-tls": half_tls,
    "tls-hellos": tls_hellos,
    "rpc-connects": hitting(b"", lambda target: target.rpc, answer=False),
}
