"""The client's address behind trusted proxies (roadrunner-server/proxy_ip_parser plugin.go @v2.5.1)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from rr_py_ws.wire.http import RequestHead

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """Resolves the address that PHP sees as `remoteAddr`.

    Args:
        subnets: peers in one of these may say whom they speak for.

    Raises:
        ValueError: a subnet is not a CIDR.
    """

    def __init__(self, subnets: Sequence[str]) -> None:
        self._networks: list[_Network] = [ipaddress.ip_network(subnet, strict=False) for subnet in subnets]

    def trusts(self, peer: str) -> bool:
        """Whether a peer may say whom it speaks for."""
        if not self._networks:
            return False
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:  # the peer of a unix socket has no address
            return False
        return any(address in network for network in self._networks)

    def client_address(self, peer: str, head: RequestHead) -> str:
        """Return the address of the client: the peer's own, or what a trusted peer says."""
        if not self.trusts(peer):
            return peer
        # Headers and order are RoadRunner's; the first one that is an address counts.
        for claim in (
            _forwarded_for(head.header(b"forwarded")),
            head.header(b"x-forwarded-for").partition(",")[0],
            head.header(b"x-real-ip"),
            head.header(b"true-client-ip"),
            head.header(b"cf-connecting-ip"),
        ):
            try:
                return str(ipaddress.ip_address(claim.strip()))
            except ValueError:
                continue
        return peer


def _forwarded_for(value: str) -> str:
    """Return the first `for=` of a Forwarded header (RFC 7239 section 6), without port and brackets."""
    for pair in value.replace(",", ";").split(";"):
        name, _, address = pair.strip().partition("=")
        if name.lower() == "for":
            address = address.strip('"')
            # `[2001:db8::1]:4711`: IPv6 addresses come in brackets, with or without a port.
            if address.startswith("["):
                return address[1:].partition("]")[0]
            # Several colons are an IPv6 address without brackets, not a port.
            return address.partition(":")[0] if address.count(":") == 1 else address
    return ""
