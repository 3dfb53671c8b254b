"""One value of the file that says where something is: addresses, networks, origins, paths of URLs.

As in `values`, every function raises `ValueError` with the text that follows "found ...," in the error.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

from rr_py_ws.address import parse_dsn, parse_host_port, parse_http_target
from rr_py_ws.config.values import items, text


def address(value: object) -> str:
    """`host:port` or `:port`; an empty text stays empty."""
    found = text(value)
    return _checked(found, parse_host_port, "accepted: host:port or :port") if found else ""


def redis_addresses(value: object) -> tuple[str, ...]:
    """Addresses of Redis servers, `host:port` or the path of a socket; an empty one is go-redis' default."""
    accepted = "accepted: host:port or the path of a unix socket, or a list of them"

    def one(item: str) -> str:
        found = item.strip() or "localhost:6379"
        # A path is not parsed, but a NUL would end it for the kernel.
        return found if found.startswith("/") and "\0" not in found else _checked(found, parse_host_port, "")

    return items(value, one, accepted)


def listen_dsn(value: object) -> str:
    """`tcp://host:port` or `unix://path`."""
    return _checked(value, parse_dsn, "accepted: tcp://host:port or unix://path")


def forward_target(value: object) -> str:
    """`http://host:port` or `unix://path`; empty text is nobody."""
    accepted = "accepted: http://host:port or unix://path, of a server that is asked without TLS"
    return "" if value == "" else _checked(value, parse_http_target, accepted)


def dsn(value: object) -> str:
    """`tcp://host:port` or `unix://path`; empty text is the default."""
    return "" if value == "" else listen_dsn(value)


def relay(value: object) -> str:
    """`pipes`, `tcp://host:port` or `unix://path`; empty text is the default."""
    # Pipes are no address.
    if isinstance(value, str) and value in ("", "pipes"):
        return value
    return _checked(value, parse_dsn, "accepted: pipes, tcp://host:port or unix://path")


def _checked(value: object, parse: Callable[[str], object], accepted: str) -> str:
    """Return a text as it is when it can be parsed: the models keep addresses as people write them."""
    try:
        found = text(value)
        parse(found)
    except ValueError:
        raise ValueError(accepted) from None
    return found


def url_path(value: object) -> str:
    """The path of a URL; empty text is the default."""
    found = text(value)
    if found and not found.startswith("/"):
        raise ValueError("accepted: a path that starts with /")
    return found


def origins(value: object) -> tuple[str, ...]:
    """Origins. As in RoadRunner, an empty text means any origin; nothing in or as a list is a mistake."""
    if value == "":
        return ("*",)
    accepted = 'accepted: an origin or a list of origins, "*" for any'

    def one(item: str) -> str:
        if not item.strip():
            raise ValueError
        return item.strip()

    if not (found := items(value, one, accepted)):
        raise ValueError(accepted)
    return found


def networks(value: object) -> tuple[str, ...]:
    """IP networks in CIDR notation; an address is a network of one address."""
    accepted = "accepted: a list of networks such as 10.0.0.0/8"
    return items(value, lambda item: str(ip_network(item.strip(), strict=False)), accepted)
