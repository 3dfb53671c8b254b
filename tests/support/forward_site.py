"""A forwarder for tests: a listener in front, and behind it a server that does what the test wants."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rr_py_ws.adapters.http import HTTPListener, TrustedProxies
from rr_py_ws.adapters.http.forward import Forward
from rr_py_ws.adapters.http.pages import Exchanges
from rr_py_ws.adapters.http.tunnels import Tunnels
from rr_py_ws.adapters.http.upstream import Upstream
from rr_py_ws.address import Address, TCPAddress
from rr_py_ws.config import Limits
from support.behind import Behind, Serve
from support.waiting import eventually
from support.ws_peer import Client


class ForwardSite:
    """Clients reach `address`; their requests and upgrades are passed on to `behind`.

    Args:
        serve: what the server behind does with a connection.
        subnets: of trusted proxies.
    """

    def __init__(self, serve: Serve, subnets: Sequence[str] = ()) -> None:
        self.behind = Behind(serve)
        self.clients: list[Client] = []
        self.listener = HTTPListener(
            Limits(), TrustedProxies(subnets), not_found="", max_connections=0, max_refusals=128
        )

    async def start(
        self,
        address: Address | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        max_tunnels: int = 64,
        **options: Any,
    ) -> None:
        await self.behind.start()
        defaults = {"connect_timeout": 5.0, "response_timeout": 60.0, "max_connections": 256}
        self.upstream = Upstream(
            address or TCPAddress("127.0.0.1", self.behind.port), "behind.test", **(defaults | options)
        )
        self.forward = Forward(self.upstream, self.listener.proxies)
        self.tunnels = Tunnels(
            self.upstream,
            self.listener.proxies,
            self.listener.release,
            limit=max_tunnels,
            max_answer=self.listener.max_refusal_size,
        )
        self.listener.pages = Exchanges(self.forward, Limits().page_timeout)
        self.listener.upgrades = self.tunnels.handle
        await self.listener.listen("127.0.0.1:0", tls)

    def count(self, result: str) -> float:
        """How many requests ended like this."""
        [sample] = [sample for sample in self.forward.metrics() if sample.name == "forwarded_requests"]
        return sample.values[(result,)]

    async def send(self, data: bytes, **options: Any) -> Client:
        """A connection on which something is sent."""
        client = await Client.connect(self.listener.addresses[0], **options)
        self.clients.append(client)
        await client.send(data)
        return client

    async def ask(self, data: bytes) -> bytes:
        """Send a request that says `Connection: close`; return everything that comes back."""
        client = await self.send(data)
        answer = await client.rest()
        client.close()
        return answer

    async def stop(self) -> None:
        """End everything; nothing of a request or a tunnel may be left."""
        for client in self.clients:
            client.close()
        await self.tunnels.stop(5.0)
        await self.listener.stop(5.0)
        await self.forward.stop()
        self.upstream.close()
        await self.behind.stop()
        assert len(self.tunnels) == 0
        upstream, tunnels = self.upstream, self.tunnels
        waiting = upstream.silent, upstream.idle, tunnels.half_closed, tunnels.closing, tunnels.stuck
        assert not any(waiting)
        await eventually(lambda: self.upstream.connections == 0)


StartForward = Callable[..., Awaitable[ForwardSite]]
