"""Two connections whose bytes go both ways, each side waiting for the other; see `tunnels`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from rr_py_ws.adapters.net.transports import end_writing

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.tunnels import Tunnels


class End(asyncio.Protocol):
    """One of the two ends of a tunnel.

    Args:
        tunnel: that it belongs to.
        transport: of this end.

    Attributes:
        other: the other end.
        finished: the peer at this end has ended what it sends.
    """

    __slots__ = ("_tunnel", "_unsent", "finished", "other", "transport")

    other: End

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self.finished = False
        self._unsent = 0

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        if not self.other.transport.is_closing():
            self.other.transport.write(data)
        self._tunnel.heard()

    def eof_received(self) -> bool:
        """Pass the end on; the other way goes on, but for TLS, which has no half-closed state."""
        self.finished = True
        if self.other.finished or not self.transport.can_write_eof():
            self.transport.close()
            return False
        end_writing(self.other.transport)
        self._tunnel.half_closed()
        return True

    def pause_writing(self) -> None:
        """The peer at this end takes no more: the other is not read, and its end not seen."""
        self._unsent = self.transport.get_write_buffer_size()
        self._tunnel.stuck(self)
        with suppress(RuntimeError):  # uvloop, when that one is closing
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer at this end takes more."""
        self._tunnel.moving(self)
        with suppress(RuntimeError):
            self.other.transport.resume_reading()

    def look_again(self) -> None:
        """The peer at this end has had time to take something of what waits."""
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent = unsent
            self._tunnel.stuck(self)
        else:
            self._tunnel.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """This end is gone: the other has what was sent before, or learns that it broke off."""
        self._tunnel.lost(self, broken=error is not None)


class Tunnel:
    """Two connections, one of a client and one to the server behind.

    Args:
        tunnels: all of them.
        client: transport of the client.
        upstream: transport of the server behind.
    """

    __slots__ = ("_left", "_tunnels", "client", "upstream")

    def __init__(self, tunnels: Tunnels, client: asyncio.Transport, upstream: asyncio.Transport) -> None:
        self._tunnels = tunnels
        self._left = 2
        self.client = End(self, client)
        self.upstream = End(self, upstream)
        self.client.other, self.upstream.other = self.upstream, self.client

    def heard(self) -> None:
        """Something came: a half-closed tunnel may go on."""
        if self in self._tunnels.half_closed:
            self.half_closed()

    def stuck(self, end: End) -> None:
        """The peer at an end may not take nothing for long."""
        self._tunnels.stuck.add(end, asyncio.get_running_loop().time())

    def moving(self, end: End) -> None:
        """It has taken what waited."""
        self._tunnels.stuck.pop(end, None)

    def half_closed(self) -> None:
        """One way has ended; the other may not be silent for long."""
        self._tunnels.half_closed.pop(self, None)
        self._tunnels.half_closed.add(self, asyncio.get_running_loop().time())

    def lost(self, end: End, *, broken: bool) -> None:
        """One of the connections is gone."""
        self._left -= 1
        if end is self.client:
            self._tunnels.release(end)
        if not self._left:
            self._tunnels.gone(self)
        elif broken:
            end.other.transport.abort()
        else:
            self._tunnels.closing.add(self, asyncio.get_running_loop().time())
            end.other.transport.close()

    def close(self) -> None:
        """End both connections, when they have taken what was sent to them."""
        for end in (self.client, self.upstream):
            end.transport.close()

    def abort(self) -> None:
        """Cut both connections."""
        for end in (self.client, self.upstream):
            end.transport.abort()
