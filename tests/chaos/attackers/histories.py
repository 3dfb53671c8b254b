"""Clients and publishers that ask for what is kept of topics, and make the server keep it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, cycle

from chaos.attackers.connection import TEXT, Attack, Connection, Target, close_all, frame
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.rpc import encode_request

_TOPICS = 1024


def _publish(messages: list[dict[str, object]]) -> bytes:
    return encode_request(1, "push.Publish", json.dumps({"messages": messages}).encode(), Flag.JSON)


def joining(target: Target) -> Iterator[None]:
    """Join as many topics as are allowed, with a position, everything or nonsense of each, and leave them."""
    names = [f"kept.{number}" for number in range(_TOPICS)]
    wishes = ("AAAAAAAAAAA.1", True, [[1]] * 4)
    joins = [
        json.dumps({"command": "join", "topics": names, "history": dict.fromkeys(names, wish)}).encode()
        for wish in wishes
    ]
    leave = frame(TEXT, json.dumps({"command": "leave", "topics": names}).encode())
    opened = [publisher := Connection(target.rpc)]
    try:
        for at in (0, 500):
            publisher.send(_publish([{"topics": names[at : at + 500], "payload": "AAAA" * 100}]))
            publisher.answered()
        while len(opened) < 5:
            opened.append(Connection(target.web))
            opened[-1].upgrade()
        for join in cycle(joins):
            for connection in opened[1:]:
                connection.send(frame(TEXT, join) + leave)
                yield
    finally:
        close_all(opened)


def reading(target: Target) -> Iterator[None]:
    """Read histories again and again, as much as is given, forwards and backwards."""
    opened = [publisher := Connection(target.rpc)]
    try:
        for size in (10, 1000, 100_000):
            payload = "AAAA" * (size // 4)
            for _ in range(20):
                publisher.send(_publish([{"topics": [f"kept.{size}"], "payload": payload}]))
        calls = [
            encode_request(1, "push.History", json.dumps(one).encode(), Flag.JSON)
            for one in (
                {"topic": "kept.10", "limit": 1 << 30},
                {"topic": "kept.1000", "limit": 1 << 30, "reverse": True},
                {"topic": "kept.100000", "limit": 1 << 30},
                {"topic": "x" * 60_000, "since": "y" * 60_000},
                {"topic": "kept.10", "since": "AAAAAAAAAAA.18446744073709551615"},
            )
        ]
        while len(opened) < 8:
            opened.append(Connection(target.rpc))
        for call in cycle(calls):
            for connection in opened:
                connection.send(call * 8)
                yield
    finally:
        close_all(opened)


def unique_keys(target: Target) -> Iterator[None]:
    """Publish under a key that is new each time, to many topics that are new, too, or not."""
    opened = [connection := Connection(target.rpc)]
    try:
        for number in count():
            few = [{"topics": ["kept.a"], "idempotency_key": f"{number}-{one}"} for one in range(200)]
            new = [{"topics": [f"kept.{number}.{one}"], "idempotency_key": "k" * 128} for one in range(200)]
            connection.send(_publish(few) + _publish(new))
            yield
    finally:
        close_all(opened)


def excluding(target: Target) -> Iterator[None]:
    """Publish to as many topics as are allowed, past as many clients as are."""
    call = _publish([{"topics": [f"kept.{n}" for n in range(512)], "exclude": ["x" * 64] * 16}])
    opened: list[Connection] = []
    try:
        while len(opened) < 16:
            opened.append(Connection(target.rpc))
        while True:
            for connection in opened:
                connection.send(call)
                yield
    finally:
        close_all(opened)


HISTORIES: dict[str, Attack] = {
    "history-joins": joining,
    "rpc-history": reading,
    "rpc-unique-keys": unique_keys,
    "rpc-excluding": excluding,
}
