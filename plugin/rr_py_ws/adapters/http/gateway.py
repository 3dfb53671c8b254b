"""Everything that is passed on to the server behind: requests, and upgrades of paths that are not ours."""

from __future__ import annotations

from collections.abc import Iterator

from rr_py_ws.adapters.http.forward import Forward
from rr_py_ws.adapters.http.listener import HTTPListener
from rr_py_ws.adapters.http.tunnels import Tunnels
from rr_py_ws.adapters.http.upstream import Upstream
from rr_py_ws.address import TCPAddress, parse_http_target
from rr_py_ws.config import HTTPExtension
from rr_py_ws.metrics import Sample


class Gateway:
    """The way from a listener to the server of `websockets.http.forward`.

    Args:
        section: `websockets.http`, with a `forward`.
        listener: where the requests come from; its `upgrades` are taken.

    Attributes:
        forward: the application that passes requests on.
    """

    def __init__(self, section: HTTPExtension, listener: HTTPListener) -> None:
        address = parse_http_target(section.forward)
        self._upstream = Upstream(
            address,
            str(address) if isinstance(address, TCPAddress) else "localhost",
            connect_timeout=section.connect_timeout,
            response_timeout=section.response_timeout,
            max_connections=section.max_connections,
        )
        self.forward = Forward(self._upstream, listener.proxies)
        self._tunnels = Tunnels(
            self._upstream,
            listener.proxies,
            listener.release,
            limit=section.max_tunnels,
            max_answer=listener.max_refusal_size,
        )
        listener.upgrades = self._tunnels.handle

    def reload(self, section: HTTPExtension, max_answer: int) -> None:
        """Go by other times, and by another number of tunnels."""
        self._upstream.reload(section.connect_timeout, section.response_timeout)
        self._tunnels.limit = section.max_tunnels
        self._tunnels.max_answer = max_answer

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        yield from self._upstream.metrics()
        yield from self.forward.metrics()
        yield from self._tunnels.metrics()

    async def stop(self, timeout: float) -> int:
        """End the tunnels; requests are passed on until their connections end.

        Args:
            timeout: seconds that the peers get to take what was sent.

        Returns:
            How many tunnels had to be cut.
        """
        return await self._tunnels.stop(timeout)

    async def close(self) -> None:
        """Close the connections that are left; there are no requests any more."""
        await self.forward.stop()
        self._upstream.close()
