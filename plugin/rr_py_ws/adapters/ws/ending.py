"""How a WebSocket ends: close frames, what is answered before them, and how long a peer may take.

Whoever begins it, an end is that of RFC 6455: a close frame in each direction, then FIN. A close frame of the
client waits until the commands before it are answered, as everything else does.
"""

from __future__ import annotations

import asyncio
import socket

from websockets.frames import CloseCode
from websockets.protocol import State as ProtocolState

from rr_py_ws.adapters.net.deadline import Deadline
from rr_py_ws.adapters.ws.context import ConnectionContext
from rr_py_ws.adapters.ws.protocol.core import WebSocketProtocol
from rr_py_ws.adapters.ws.sender import Sender, State
from rr_py_ws.wire.push import Encoding

EXPIRED = 4001
"""The close code of a connection whose time is over. The client may come back, with a new token."""


class Ending(Sender):
    """The end of a connection; `Connection` is the rest of it.

    Args:
        context: what all connections share.
        transport: after the 101 response was written.
        sock: see `Sender`.
        encoding: see `Subscriber`.
    """

    __slots__ = ("_expiry", "_protocol", "_timer")

    def __init__(
        self,
        context: ConnectionContext,
        transport: asyncio.Transport,
        sock: socket.SocketType | None,
        encoding: Encoding,
    ) -> None:
        Sender.__init__(self, context, transport, sock, encoding)
        self._protocol: WebSocketProtocol | None = None
        self._timer: Deadline | None = None
        self._expiry: Deadline | None = None

    def _ensure_protocol(self) -> WebSocketProtocol:
        """Return the protocol; from the first time on, it reads everything."""
        if self._protocol is None:
            limit = self._context.limits.max_message_size
            self._protocol = WebSocketProtocol(limit, deflated=self.encoding.deflated)
        return self._protocol

    def eof_received(self) -> bool:
        """The peer closed its side; so do we."""
        if self._end_is_held and self._transport.can_write_eof():  # TLS has no half-closed state
            self._peer_ended = True
            return True
        self._begin_closing()
        return False

    def _answer_frame(self, protocol: WebSocketProtocol) -> None:
        """Answer a frame that the protocol has read, if it is to be answered: a ping, or the end."""
        if protocol.state is ProtocolState.OPEN:
            self._send_protocol(protocol)
        elif self._is_owing_answers():
            self._hold_end(protocol)
        else:
            self._end(protocol)

    def _send_protocol(self, protocol: WebSocketProtocol, *, force: bool = False) -> None:
        """Write what the protocol wants to say: pongs, or (with `force`) a close frame."""
        if data := b"".join(protocol.data_to_send()):
            self.write(data, force=force)

    @property
    def _end_is_held(self) -> bool:
        """Whether a close frame is to be answered as soon as the commands before it are."""
        return self._timer is not None and self._state not in (State.CLOSING, State.CLOSED)

    def _hold_end(self, protocol: WebSocketProtocol) -> None:
        """Let the commands that came before be answered first, for as long as the rest of an end may take.

        What has to be answered with a close frame has come: what follows is read, and not looked at.
        """
        if not self._end_is_held:
            ends = asyncio.get_running_loop().time() + self._context.close_timeout
            self._timer = Deadline(ends, lambda _: self._end(protocol))

    def _end_if_answered(self) -> None:
        if self._end_is_held and not self._is_owing_answers():
            assert self._protocol is not None
            self._end(self._protocol)

    def _end(self, protocol: WebSocketProtocol) -> None:
        """Write the close frame, and what else the protocol wants: the end."""
        self._send_protocol(protocol, force=True)
        self._begin_closing()
        if protocol.eof_sent:
            self.end_writing()

    def _close(self, code: int, reason: str) -> None:
        """Start the close handshake, or end one that waits for answers to commands."""
        protocol = self._ensure_protocol()
        if protocol.state is ProtocolState.OPEN:
            protocol.send_close(code, reason)
        self._end(protocol)

    def _begin_closing(self) -> None:
        """What is to be written is written; the peer has a while to take it and to end its side."""
        if self._state not in (State.CLOSING, State.CLOSED):
            self._leave()
            self._transition(State.CLOSING)
            if self._timer is not None:
                self._timer.cancel()
            ends = asyncio.get_running_loop().time() + self._context.close_timeout
            self._timer = Deadline(ends, lambda _: self._transport.abort())

    def close_going_away(self) -> bool:
        """Tell the client that the server is stopping (1001); False when the connection is ending anyway."""
        if self._state not in (State.OPEN, State.QUEUEING) or self._transport.is_closing():
            return False
        self._close(CloseCode.GOING_AWAY, "server is stopping")
        return True

    def close_for_gap(self) -> None:
        """Tell a client to go that may have missed messages, so that it comes back and begins anew (1012)."""
        if self._state in (State.OPEN, State.QUEUEING) and not self._transport.is_closing():
            self._close(CloseCode.SERVICE_RESTART, "messages may have been missed")

    def close_try_again_later(self) -> None:
        """Tell the client to come back (1013), because of something that may pass."""
        if self._state in (State.OPEN, State.QUEUEING) and not self._transport.is_closing():
            self._close(CloseCode.TRY_AGAIN_LATER, "try again later")

    def end_after(self, seconds: float) -> None:
        """Let the connection end after a while: what the authorizer has said holds no longer."""
        ends = asyncio.get_running_loop().time() + seconds
        self._expiry = Deadline(ends, lambda _: self._close_expired())

    def _close_expired(self) -> None:
        self._expiry = None
        if self._state in (State.OPEN, State.QUEUEING) and not self._transport.is_closing():
            self._close(EXPIRED, "expired")

    def _cancel_timers(self) -> None:
        for timer in (self._timer, self._expiry):
            if timer is not None:
                timer.cancel()

    # What only the whole connection knows

    def _is_owing_answers(self) -> bool:
        """Whether a command that has arrived is not answered yet."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Leave all topics, before anything else can be sent: nothing may follow a close frame."""
        raise NotImplementedError
