"""What each of several listener processes may have of the limits of a server.

Connections are counted by all processes together (`adapters.http.places`), and what one client may do is the
same in each of them. All other limits of the server are divided, rounded up.
"""

from __future__ import annotations

from rr_py_ws.config import Config

_DIVIDED = ("handshakes_per_second", "max_joins_waiting", "refusal_memory", "page_memory")
_HANDSHAKES_PER_WORKER = 4


def for_listener(loaded: Config, count: int) -> Config:
    """Return the configuration of one listener process.

    Args:
        loaded: that of the server. Its own number of processes does not count: after a reload it may be
            another one, which there will be after a restart.
        count: how many listener processes there are.
    """
    section = loaded.websockets
    if section is None:
        return loaded
    limits = section.limits
    handshakes = limits.max_handshakes or _HANDSHAKES_PER_WORKER * max(1, section.pool.num_workers)
    shares = {name: _share(getattr(limits, name), count) for name in _DIVIDED}
    shares["max_handshakes"] = _share(handshakes, count)
    # A refusal has to fit.
    shares["refusal_memory"] = max(shares["refusal_memory"], limits.max_refusal_size)
    http = section.http.model_copy(
        update={
            "max_connections": _share(section.http.max_connections, count),
            "max_tunnels": _share(section.http.max_tunnels, count),
        }
    )
    own = section.model_copy(update={"limits": limits.model_copy(update=shares), "http": http})
    return loaded.model_copy(update={"websockets": own})


def _share(limit: int, count: int) -> int:
    """Return a part of a limit; 0 stays no limit."""
    return -(-limit // count)
