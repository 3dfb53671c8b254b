"""Addresses of clients that several processes share, and nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from rr_py_ws.config import load_config
from rr_py_ws.errors import ConfigError
from rr_py_ws.server import processes
from rr_py_ws.server.systemd import InheritedSockets
from support.ports import free_port, needs_ipv6

HOSTS = ["127.0.0.1", "", pytest.param("[::]", marks=needs_ipv6), pytest.param("[::1]", marks=needs_ipv6)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def reserve(stack: ExitStack, address: str) -> socket.socket:
    overrides = [f"http.address={address}"]
    loaded = load_config(".rr.yaml", overrides=overrides, environ={})
    ((_, _, reserved),) = await processes._reserve(loaded, InheritedSockets([]))
    return stack.enter_context(reserved)


@pytest.mark.parametrize("host", HOSTS)
async def test_another_start_finds_the_address_in_use_before_anybody_listens(
    stack: ExitStack, host: str
) -> None:
    """Two that began at the same moment shared it, and each got half of the clients."""
    address = f"{host}:{free_port()}"
    await reserve(stack, address)
    with pytest.raises(ConfigError, match="in use by another process"):
        await reserve(stack, address)


async def test_there_is_no_moment_in_which_the_address_is_free(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    bind_beside, refused = processes._bind_beside, []

    def looking(one: socket.socket) -> socket.socket:
        with pytest.raises(OSError, match="in use") as error:
            socket.create_server(("127.0.0.1", port))
        refused.append(error)
        return bind_beside(one)

    monkeypatch.setattr(processes, "_bind_beside", looking)
    await reserve(stack, f"127.0.0.1:{port}")
    assert refused


@pytest.mark.parametrize("host", HOSTS)
async def test_our_own_processes_listen_there(stack: ExitStack, host: str) -> None:
    reserved = await reserve(stack, f"{host}:{free_port()}")
    place = reserved.getsockname()
    for _ in range(2):
        stack.enter_context(processes._bind_beside(reserved)).listen()
    for _ in range(2):  # one that is started again, and a server whose connections have just been closed
        client = stack.enter_context(socket.socket(reserved.family))
        client.connect(place)
        stack.enter_context(processes._bind_beside(reserved)).listen()


def test_a_listener_that_cannot_bind_any_more_says_which_key_in_one_line(stack: ExitStack) -> None:
    """A process that took the place of another printed a traceback."""
    taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    with pytest.raises(ConfigError, match=r"^http\.address: cannot listen any more: it is in use by another"):
        processes._bind_reserved([("http", "http.address", taken)])
