"""What a child makes of the orders of its parent."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.config import Config
from rr_py_ws.server.child import ChildProcess
from rr_py_ws.server.control import Control
from rr_py_ws.server.handed_on import HandedOn


class Child(ChildProcess):
    """One that does nothing."""

    def prepare(self) -> None: ...

    async def serve(self) -> int:
        return 0

    async def link(self, number: int, accepted: socket.socket) -> None: ...

    def take(self, loaded: Config) -> None: ...


@pytest.mark.parametrize(("number", "linked_to"), [(0, 3), (3, 0)])
def test_a_link_that_comes_without_its_socket_is_told(number: int, linked_to: int) -> None:
    """The kernel drops a descriptor for which the process has no place. Both ends name the listener."""
    parent, ours = Control.pair()
    loaded: Any = Config(path=Path("/.rr.yaml"))
    child = Child(number, loaded, lambda: loaded, HandedOn[Config](), ours, again=False)
    parent.send("link", linked_to)
    child._take_orders()
    assert parent.receive() == (("unlinked", 3), [])
    for end in (parent, ours):
        end.close()
