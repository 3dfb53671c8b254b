"""What a parent and a child say to each other."""

from __future__ import annotations

import socket

import pytest

from rr_py_ws.server.control import Control


def test_messages_keep_their_borders_and_their_order() -> None:
    one, other = Control.pair()
    for number in range(3):
        one.send("text", number, {"é": [None]})
    assert [other.receive() for _ in range(3)] == [
        (("text", number, {"é": [None]}), []) for number in range(3)
    ]
    with pytest.raises(BlockingIOError):
        other.receive()
    one.close()
    assert other.receive() is None
    other.close()


def test_a_socket_is_handed_over() -> None:
    one, other = Control.pair()
    near, far = socket.socketpair()
    one.send("link", 2, sockets=(far,))
    far.close()
    found = other.receive()
    assert found is not None
    message, [taken] = found
    assert message == ("link", 2)
    assert not taken.get_inheritable()
    taken.send(b"hello")
    assert near.recv(5) == b"hello"
    for end in (taken, near, one, other):
        end.close()


def test_nobody_waits_for_an_end_that_does_not_listen_or_is_gone() -> None:
    one, other = Control.pair()
    for _ in range(1000):
        one.send("x" * 10_000)
    assert other.receive() == (("x" * 10_000,), [])
    one.send("x" * 100_000)  # more than a message may be
    other.close()
    one.send("gone")
    assert one.receive() is None
    one.close()
