"""How the server ends: in which order, and how much of the grace period each part may take."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from rr_py_ws import logs
from rr_py_ws.core.node import Node
from rr_py_ws.server.core_role import CoreRole

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.gateway import Gateway
    from rr_py_ws.adapters.ops import OpsListener

_SETTLE = 1.0
"""Seconds, at most, that a broker may take to hand over what it has accepted."""
_CLOSE = 5.0
"""Seconds, at most, that the last clients get to answer the close frame."""
_LAST_ANSWER = 1.0
"""Seconds, at most, that a scrape or a health check may still take when everything else has stopped."""

log = logs.get_logger("app")


class WebSockets(Protocol):
    """What is stopped of `adapters.ws`, in this process or in others."""

    def __len__(self) -> int: ...

    async def drain(self, seconds: float) -> None:
        """Tell all clients to go, spread over some seconds."""

    async def stop(self, timeout: float) -> int:
        """Wait for the last ones, and cut the rest; return how many."""


class Requests(Protocol):
    """The same of `adapters.http`."""

    @property
    def pages(self) -> object:
        """What answers requests for pages; None without."""

    def refuse(self) -> None:
        """Accept nobody any more."""

    async def stop(self, timeout: float) -> int:
        """Wait for the last ones, and cut the rest; return how many."""


class Clients(Protocol):
    """What clients are connected to."""

    @property
    def websockets(self) -> WebSockets:
        """Their WebSockets."""

    @property
    def http(self) -> Requests:
        """Their other requests."""

    @property
    def gateway(self) -> Gateway | None:
        """What passes requests on; None without, or where it is stopped with `http`."""


async def shut_down(
    core: CoreRole,
    listener: Clients,
    ops: Sequence[OpsListener],
    *,
    grace: float,
    delay: float,
    drain: float,
) -> bool:
    """Stop everything; safe after half a start.

    0. For `delay` seconds everybody is served as ever, newcomers too: load balancers look at readiness from
       time to time only, and until then they send clients, who would find a closed port.
    1. At once: nobody is accepted any more, and handshakes that are not done are refused.
    2. Calls of publishers that have begun are answered, and what the brokers have accepted is written.
    3. Clients are closed with 1001, spread over `drain`. Those whose turn has not come still receive what
       other nodes publish, and their joins are still decided. Meanwhile and after that, requests for pages
       that have begun are answered.
    4. Workers end, brokers are closed, and last the pages for operators.

    Each step gets a part of the time that is left, so that none can take that of the next; what does not end
    in its part is cut, and one line of the log says so.

    Args:
        core: publishers, brokers and workers.
        listener: clients.
        ops: the pages.
        grace: seconds for all of it, with the delay.
        delay: seconds that everybody is still served.
        drain: seconds over which clients are told to go; no more than half of what is left.

    Returns:
        Whether everything was stopped. False is a mistake in this program.
    """
    now = asyncio.get_running_loop().time
    began = now()
    if delay:
        log.info("not ready any more, still serving", connections=len(listener.websockets), delay=delay)
        await asyncio.sleep(delay)
    listener.http.refuse()
    left = max(0.0, began + grace - now())
    last_part = min(_LAST_ANSWER, left / 10)

    def part(share: float, most: float = math.inf) -> float:
        """Return a share of the seconds that are left, and at most `most`."""
        return min(most, share * max(0.0, began + grace - last_part - now()))

    log.info("stopping", connections=len(listener.websockets), grace_period=grace)
    cut: dict[str, int] = {}
    try:
        async with asyncio.timeout(left - last_part):
            if core.rpc is not None:
                cut["rpc_calls"] = await core.rpc.stop(part(1 / 4))
            if core.forward is not None:
                await core.forward.close()
            await _settle(core.node, part(1 / 4, _SETTLE))
            timeout = part(1 / 4, _CLOSE)
            await listener.websockets.drain(part(1 / 2, drain))
            # Beside the clients there are pages, and peers that do not take their refusal.
            pages = timeout if listener.http.pages is None else part(1 / 2)
            stopping = [listener.websockets.stop(timeout), listener.http.stop(pages)]
            if listener.gateway is not None:
                stopping.append(listener.gateway.stop(timeout))
            cut["clients"] = sum(await asyncio.gather(*stopping))
            if listener.gateway is not None:
                await listener.gateway.close()
            pools = [pool for pool in (core.pool, core.pages) if pool is not None]
            limit = part(3 / 4)
            cut["workers"] = sum(await asyncio.gather(*(pool.stop(limit) for pool in pools)))
            await core.node.close()
    except TimeoutError:
        return False
    finally:
        # Last of all: until now an operator could see how far the stop is.
        await asyncio.gather(*(server.stop(last_part) for server in ops))
    seconds = round(now() - began, 3)
    if any(cut.values()):
        log.warning("stopped, what did not end in time was cut", seconds=seconds, **cut)
    else:
        log.info("stopped in time", seconds=seconds)
    return True


async def _settle(node: Node, timeout: float) -> None:
    """Have everything written that a publisher was told is accepted, before any client is told to go."""
    try:
        async with asyncio.timeout(timeout):
            await asyncio.gather(*(broker.settle() for broker in node.brokers.values()))
    except TimeoutError:  # a broker that hangs must not keep the clients from being told to go
        pass
    node.flush()
