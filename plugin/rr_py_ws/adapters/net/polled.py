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
from collections.abc import Iterable
from typing import Any

_EVENTS = 64
"""Sockets that are looked at in one turn of the event loop; whatever else goes on has its turn then."""
_READ = 256 * 1024
"""Bytes that are read of one socket in a turn, at most; as uvloop reads."""
_HIGH = 64 * 1024
"""Bytes that may wait before a protocol is told to pause, unless it asks for another limit; as in asyncio."""

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_FAILED = select.EPOLLERR | select.EPOLLHUP


class Poller:
    """Watches the sockets of its transports, as long as there are any."""

    __slots__ = ("_epoll", "_loop", "_space", "_transports", "_view")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._transports: dict[int, PolledTransport] = {}
        self._space = bytearray(_READ)
        self._view = memoryview(self._space)

    def open(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        """Make the transport of a connected socket, and call `connection_made` of its protocol at once.

        Args:
            connection: does not block; it belongs to the transport from now on.
            protocol: of the connection.
        """
        PolledTransport(self, self._loop, connection, protocol).begin()

    def watch(self, descriptor: int, transport: PolledTransport, before: int, events: int) -> None:
        """Look for other events of a socket than before; 0 for none.

        A socket is not watched for no events at all: the kernel would still tell of its end, again and again.
        """
        if not events:
            del self._transports[descriptor]
            self._epoll.unregister(descriptor)
            if not self._transports:
                self._loop.remove_reader(self._epoll.fileno())
        elif before:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
            if not self._transports:
                self._loop.add_reader(self._epoll.fileno(), self._look)
            self._transports[descriptor] = transport

    def _look(self) -> None:
        """Tell the transports whose sockets have something to read, or room."""
        transports = self._transports
        for descriptor, events in self._epoll.poll(0, _EVENTS):
            # What is told to one may have another one cease to be watched. No descriptor belongs to a new
            # socket meanwhile: transports close their sockets in a later turn.
            if (transport := transports.get(descriptor)) is not None:
                transport.ready(events)

    def read(self, connection: socket.socket) -> bytes:
        """Read what has arrived; empty when the peer has ended its side.

        Raises:
            OSError: as `recv`.
        """
        size = connection.recv_into(self._space)
        return bytes(self._view[:size])


class PolledTransport(asyncio.Transport):
    """The transport of one connection; see `asyncio.Transport` for what each method promises.

    Args:
        poller: watches the socket.
        loop: the running loop.
        connection: the socket.
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
        "_socket",
        "_unsent",
    )

    def __init__(
        self,
        poller: Poller,
        loop: asyncio.AbstractEventLoop,
        connection: socket.socket,
        protocol: asyncio.Protocol,
    ) -> None:
        self._poller = poller
        self._loop = loop
        self._socket = connection
        self._protocol = protocol
        self._events = 0
        self._unsent: bytearray | None = None
        self._high = _HIGH
        self._low = _HIGH // 4
        self._closing = False
        self._eof = False
        self._read_eof = False
        self._paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the socket or one of its names; the default when it is gone, and for all else."""
        try:
            match name:
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
        self.resume_reading()

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
        if not self._closing and not self._read_eof:
            self._watch(self._events | _IN)

    def ready(self, events: int) -> None:
        """Take what the kernel has told of the socket. An error of the protocol ends this one alone."""
        try:
            if events & (_OUT | _FAILED) and self._unsent is not None:
                self._send_unsent()
            if events & (_IN | _FAILED) and self._events & _IN:
                self._receive()
        except Exception as error:
            self._protocol_failed(error)

    def _receive(self) -> None:
        try:
            data = self._poller.read(self._socket)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if data:
            self._protocol.data_received(data)
            return
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
            self._unsent = bytearray(memoryview(data)[sent:])
            self._watch(self._events | _OUT)
        else:
            self._unsent += data
        if not self._paused and len(self._unsent) > self._high:
            self._paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """See `asyncio.WriteTransport`."""
        self.write(b"".join(list_of_data))

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
        return 0 if self._unsent is None else len(self._unsent)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport`."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        self._high = _HIGH if high is None else high
        self._low = self._high // 4 if low is None else low
        if not self._paused and self.get_write_buffer_size() > self._high:
            self._paused = True
            self._protocol.pause_writing()

    def _send_unsent(self) -> None:
        assert self._unsent is not None
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._unsent = None
            self._watch(self._events & ~_OUT)
        closing, eof = self._closing, self._eof
        if self._paused and self.get_write_buffer_size() <= self._low:
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
