"""Transports of plain sockets that share one epoll instance.

The transports of the event loops are made for any use: one of uvloop takes a kilobyte, and to make it of an
accepted socket takes a task and eight calls of the kernel. Of a server's idle WebSockets that was half of the
memory, and a quarter of what a client costs that comes and goes. These transports do what the others do
(`asyncio.Transport`), on every loop alike, for sockets without TLS. What is written goes to the kernel at
once, or waits here.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any

from rr_py_ws.adapters.net.poller import FIRST, Poller

_HIGH = 64 * 1024
"""Bytes that may wait before a protocol is told to pause, unless it asks for another limit; as in asyncio."""

_PARTS = 1024
"""Parts that are sent by one call of the kernel, which takes no more (IOV_MAX)."""

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class PolledTransport(asyncio.Transport):
    """The transport of one connection; see `asyncio.Transport` for what each method promises.

    Args:
        poller: watches the socket.
        connection: the socket, which does not block; it belongs to the transport from now on.
        remote: the other end for the log, `host:port`; a socket whose peer has gone cannot tell any more.
        protocol: is told what happens.
    """

    __slots__ = (
        "_closing",
        "_eof",
        "_events",
        "_high",
        "_loop",
        "_low",
        "_paused",
        "_poller",
        "_protocol",
        "_read_eof",
        "_remote",
        "_socket",
        "_unsent",
        "_unsent_size",
    )

    def __init__(
        self,
        poller: Poller,
        connection: socket.SocketType,
        remote: str,
        protocol: asyncio.Protocol,
    ) -> None:
        self._remote = remote
        self._poller = poller
        self._loop = poller.loop
        self._socket = connection
        self._protocol = protocol
        self._events = 0
        self._unsent: deque[memoryview] | None = None
        self._unsent_size = 0
        self._high = _HIGH
        self._low = _HIGH // 4
        self._closing = False
        self._eof = False
        self._read_eof = False
        self._paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return `remote`, the socket, or one of its names; the default for all else, and when it is gone."""
        try:
            match name:
                case "remote":
                    return self._remote
                case "socket":
                    return self._socket
                case "peername":
                    return self._socket.getpeername()
                case "sockname":
                    return self._socket.getsockname()
        except OSError:
            pass
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See `asyncio.BaseTransport`; not a protocol that wants to be given buffers."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.BaseTransport`."""
        return self._protocol

    def begin(self) -> None:
        """Tell the protocol of the connection, and read."""
        try:
            self._protocol.connection_made(self)
        except Exception as error:
            self._protocol_failed(error)
        if not self._closing:
            before, self._events = self._events, self._events | _IN
            self._poller.watch(self._socket.fileno(), self, before, self._events)

    # Reading

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return bool(self._events & _IN)

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        if self._events & _IN:
            self._watch(self._events & ~_IN)

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        if not (self._events & _IN or self._closing or self._read_eof):
            self._watch(self._events | _IN)

    def ready(self, events: int) -> None:
        """Take what the kernel has told of the socket. An error of the protocol ends this one alone."""
        try:
            if events != _IN:  # hardly ever
                if self._unsent is not None:
                    self._send_unsent()
                if events == _OUT:
                    return
            if not self._events & _IN:
                return
            try:
                data = self._socket.recv(FIRST)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(error)
                return
            if data:
                self._protocol.data_received(data if len(data) < FIRST else self._receive_more(data))
            else:
                self._receive_end()
        except Exception as error:
            self._protocol_failed(error)

    def _receive_more(self, data: bytes) -> bytes:
        """Add what there is behind what was received; the end, or an error, is found in the next turn."""
        try:
            size = self._socket.recv_into(self._poller.space)
        except OSError:
            return data
        return b"".join((data, self._poller.view[:size]))

    def _receive_end(self) -> None:
        self._read_eof = True
        self._watch(self._events & ~_IN)
        if not self._protocol.eof_received():
            self.close()

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.WriteTransport`; what is written after the end is dropped.

        Raises:
            RuntimeError: the side was ended by `write_eof`.
        """
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        if self._unsent is None:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._end(error)
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        self._keep(memoryview(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """See `asyncio.WriteTransport`, and `write`."""
        if self._eof:
            raise RuntimeError("Cannot call writelines() after write_eof()")
        parts = deque(memoryview(data) for data in list_of_data if data)
        if self._closing or not parts:
            return
        if self._unsent is None:
            self._send(parts)
        self._keep(*parts)

    def _send(self, parts: deque[memoryview]) -> None:
        """Send what the kernel takes of parts, and drop that; everything when the connection is gone."""
        try:
            sent = self._socket.sendmsg(islice(parts, _PARTS))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            parts.clear()
            self._end(error)
            return
        while sent and sent >= len(parts[0]):
            sent -= len(parts.popleft())
        if sent:
            parts[0] = parts[0][sent:]

    def _keep(self, *parts: memoryview) -> None:
        """Let parts wait. What cannot change is not copied: many connections may wait with one message."""
        if not parts:
            return
        if self._unsent is None:
            self._unsent = deque()
            self._watch(self._events | _OUT)
        self._unsent.extend(part if part.readonly else memoryview(bytes(part)) for part in parts)
        self._unsent_size += sum(map(len, parts))
        if not self._paused and self._unsent_size > self._high:
            self._paused = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`."""
        return True

    def write_eof(self) -> None:
        """See `asyncio.WriteTransport`."""
        if self._closing or self._eof:
            return
        self._eof = True
        if self._unsent is None:
            self._end_stream()

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return self._unsent_size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport`."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        self._high = _HIGH if high is None else high
        self._low = self._high // 4 if low is None else low
        if not self._paused and self._unsent_size > self._high:
            self._paused = True
            self._protocol.pause_writing()

    def _send_unsent(self) -> None:
        assert self._unsent is not None
        self._send(self._unsent)
        if self._unsent is None:  # the connection is gone
            return
        self._unsent_size = sum(map(len, self._unsent))
        if not self._unsent:
            self._unsent = None
            self._watch(self._events & ~_OUT)
        closing, eof = self._closing, self._eof
        if self._paused and self._unsent_size <= self._low:
            self._paused = False
            self._protocol.resume_writing()
        if self._unsent is not None:  # perhaps what the protocol has written just now
            return
        if closing:
            self._loop.call_soon(self._lose, None)
        elif eof:
            self._end_stream()

    def _end_stream(self) -> None:
        """Send FIN."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:  # the peer has gone away in this moment
            self._end(error)

    # The end

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._closing

    def close(self) -> None:
        """See `asyncio.BaseTransport`: what waits is sent before."""
        if self._closing:
            return
        self._closing = True
        self._watch(self._events & ~_IN)
        if self._unsent is None:
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """See `asyncio.WriteTransport`: what waits is dropped."""
        self._end(None)

    def _protocol_failed(self, error: Exception) -> None:
        context = {
            "message": "Fatal error: the protocol failed.",
            "exception": error,
            "transport": self,
            "protocol": self._protocol,
        }
        self._loop.call_exception_handler(context)
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        """Drop what waits; the protocol is told in a later turn, unless it has been told already."""
        if self._closing and self._unsent is None:
            return
        self._closing = True
        self._unsent = None
        self._unsent_size = 0
        self._watch(0)
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            del self._protocol  # the two refer to each other, and should not wait for the garbage collector
            self._socket.close()

    def _watch(self, events: int) -> None:
        if events != self._events:
            before, self._events = self._events, events
            self._poller.watch(self._socket.fileno(), self, before, events)
