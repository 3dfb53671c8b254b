"""Who is connected, and what all of them share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol

from rr_py_ws import logs
from rr_py_ws.adapters.auth.fail_closed import FailClosed
from rr_py_ws.adapters.http.limiter import Guest, Places
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.adapters.ws.drain import Client, dismiss_all
from rr_py_ws.adapters.ws.handshake_queue import Applicant, Turns
from rr_py_ws.adapters.ws.keepalive import KeepAlive, Peer
from rr_py_ws.adapters.ws.settings import Settings
from rr_py_ws.adapters.ws.stats import WebSocketStats
from rr_py_ws.core.origin import OriginRule
from rr_py_ws.core.ports import Authorizer, Subscriptions
from rr_py_ws.core.session import Setup
from rr_py_ws.core.token_bucket import Pace
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.deflate import Compressor

log = logs.get_logger("websockets")


class Newcomer(Client, Guest, Applicant, Protocol):
    """A client whose handshake is not done."""


class OpenClient(Client, Peer, Protocol):
    """A client whose handshake is done."""


class Clients:
    """All clients of a server, from the first byte of the handshake to the end of the socket.

    Args:
        settings: see `Settings`.
        authorizer: decides about handshakes and joins.
        subscriptions: where clients join topics.

    Attributes:
        pace: how fast each of them may send.
        sessions: what the sessions of all clients share.
        stopping: whether newcomers are turned away.
        stats: what they have done so far.
        compressor: None when nobody gets compressed messages.
        limiter: how many there may be.
        turns: in what order handshakes are decided.
    """

    def __init__(self, settings: Settings, authorizer: Authorizer, subscriptions: Subscriptions) -> None:
        self.settings = settings
        self.authorizer = FailClosed(authorizer)
        self.origins = OriginRule(settings.allowed_origin)
        self.proxies = TrustedProxies(settings.trusted_subnets)
        self.stopping = False
        self.stats = WebSocketStats()
        self.pace = Pace(settings.commands_per_second)
        self.sessions = Setup(self.authorizer, subscriptions, settings.commands, self.stats.commands)
        self.compressor: Compressor | None = None
        if settings.compression_level:
            self.compressor = Compressor(
                settings.compression_level, settings.compression_min_size, self.stats.deflate
            )
        self._warned_of_cookies = False
        self.limiter = Places(settings, self.proxies)
        self.turns = Turns(
            settings.max_handshakes,
            settings.handshakes_per_second,
            min(settings.handshake_wait, settings.authorize_timeout),
        )
        self._keepalive = KeepAlive(settings.ping_interval, settings.ping_timeout)
        self._handshakes: set[Newcomer] = set()
        self._open: set[OpenClient] = set()
        self._gone = asyncio.Event()
        self._gone.set()

    def __len__(self) -> int:
        """Return the number of open WebSockets."""
        return len(self._open)

    def metrics(self) -> Iterator[Sample]:
        """See `metrics.MetricSource`."""
        silent = self._keepalive.given_up
        yield gauge("connections", "Open WebSockets.", len(self._open))
        yield gauge("handshakes", "Connections that are no WebSocket yet.", len(self._handshakes))
        yield gauge("handshakes_waiting", "Requests that wait for their turn.", self.turns.waiting)
        yield from self.limiter.metrics()
        yield counter("silent_clients", "WebSockets cut because a ping was not answered.", silent)
        yield from self.stats.metrics()

    def start(self) -> None:
        """Begin to ping."""
        self._keepalive.start()

    def refuse(self) -> None:
        """Turn away who is not a WebSocket yet, and newcomers from now on."""
        self.stopping = True
        for handshake in tuple(self._handshakes):
            handshake.dismiss()

    async def stop(self, timeout: float, drain: float) -> int:
        """Turn away newcomers, dismiss everybody, cut who does not go.

        Until its turn comes a client is served as ever. Cancelling this cuts nobody.

        Args:
            timeout: seconds that the last ones get to go.
            drain: seconds over which the dismissals are spread.

        Returns:
            How many had to be cut.
        """
        self.refuse()
        await dismiss_all(tuple(self._open), drain)
        self._keepalive.stop()
        left: tuple[Client, ...] = ()
        try:
            async with asyncio.timeout(timeout):
                await self._gone.wait()
        except TimeoutError:
            left = (*self._handshakes, *self._open)
            for client in left:
                client.give_up()
            await self._gone.wait()
        self.limiter.stop()
        self.turns.stop()
        return len(left)

    # What handshakes and connections report

    def warn_of_cookies(self) -> None:
        """A page of any origin has connected with its visitor's cookies: say once what that means."""
        if not self._warned_of_cookies and self.authorizer.reads_requests:
            self._warned_of_cookies = True
            log.warning(
                "a browser sent cookies, and websockets.allowed_origin allows every page: any web site can"
                " connect in the name of its visitors; name your own pages there"
            )

    def arrived(self, newcomer: Newcomer) -> bool:
        """There is a new TCP connection; False when its socket is to be closed at once."""
        self._handshakes.add(newcomer)
        self._gone.clear()
        return self.limiter.arrive(newcomer)

    def accept_failed(self) -> None:
        """The system had no more sockets."""
        self.stats.accept_failures += 1

    def handshake_ended(self, newcomer: Newcomer, opened: OpenClient | None = None) -> None:
        """The TCP connection became a WebSocket, or (`opened` is None) is gone. May be called again."""
        if newcomer not in self._handshakes:
            return
        self._handshakes.discard(newcomer)
        if opened is not None:
            self.limiter.hand_over(newcomer, opened)
            self.stats.accepted += 1
            self._open.add(opened)
            self._keepalive.add(opened)
            log.debug("websocket client connected")
        else:
            self.limiter.leave(newcomer)
        self._look_who_is_left()

    def connection_ended(self, connection: OpenClient, code: int | None) -> None:
        """A WebSocket is gone; `code` is that of the close frame, None when there was none."""
        self.stats.count_close(code)
        self._open.discard(connection)
        self.limiter.leave_open(connection)
        self._keepalive.discard(connection)
        self._look_who_is_left()
        log.debug("websocket client disconnected")

    def _look_who_is_left(self) -> None:
        if not self._handshakes and not self._open:
            self._gone.set()
