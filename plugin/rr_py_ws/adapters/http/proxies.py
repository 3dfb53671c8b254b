"""The client's address behind trusted proxies.

RoadRunner (roadrunner-server/proxy_ip_parser plugin.go @v2.5.1) believes the first address of the first of
five headers, which is what a client has written: proxies add to the end, and pass on headers that they do not
know. So only the header that the operator's proxy writes is read, and from its end.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import get_args

from rr_py_ws import logs
from rr_py_ws.address import parse_ip
from rr_py_ws.config.models import ClientAddressHeader
from rr_py_ws.wire.forwarding import IPAddress, addresses
from rr_py_ws.wire.http import RequestHead

_HEADERS = [name.encode() for name in get_args(ClientAddressHeader)]
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_REMEMBERED = 1024
"""Peers of which it is known whether they are trusted."""
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")

log = logs.get_limited("websockets")


class TrustedProxies:
    """Resolves the address that PHP sees as `remoteAddr`.

    Args:
        subnets: peers in one of these may say whom they speak for.
        header: the header in which they do.

    Attributes:
        header: in lower case.
        any: whether there are any.

    Raises:
        ValueError: a subnet is not a CIDR.
    """

    def __init__(self, subnets: Sequence[str], header: str = "x-forwarded-for") -> None:
        self._networks = list(map(_parse_network, subnets))
        self.any = bool(self._networks)
        self.header = header.lower().encode()
        self._warned = False
        self._known = lru_cache(_REMEMBERED)(self._looks_trusted)

    def trusts(self, peer: str) -> bool:
        """Whether a peer may say whom it speaks for."""
        return self.any and self._known(peer)

    def _looks_trusted(self, peer: str) -> bool:
        try:
            return self._is_proxy(parse_ip(peer))
        except ValueError:  # the peer of a unix socket has no address
            return False

    def client_address(self, peer: str, head: RequestHead) -> str:
        """Return the address of the client: the first one on the way back that no trusted proxy has.

        When all are trusted, it is the farthest that is named: what an untrusted sender says is never looked
        at, nor what somebody says of whom a proxy gives no address.
        """
        if not self.trusts(peer):
            return peer
        lines = head.lines(self.header)
        if not lines and not self._warned:
            self._look_at_others(peer, head)
        return self.senders(peer, lines)[0]

    def senders(self, peer: str, lines: list[str]) -> list[str]:
        """Return the client and the trusted proxies on its way, the nearest last.

        Args:
            peer: the nearest sender, which is trusted.
            lines: the values of `header`.
        """
        found = [peer]
        for address in addresses(self.header, lines):
            if address is None:
                break
            found.append(str(address))
            if not self._is_proxy(address):
                break
        return found[::-1]

    def _look_at_others(self, peer: str, head: RequestHead) -> None:
        """Warn once of a proxy that names the client somewhere else: all its clients would be one."""
        other = next((name.decode() for name in _HEADERS if name in head.first), "")
        if other:
            self._warned = True
            text = (
                "a trusted proxy does not write the header that is read, see websockets.client_address_header"
            )
            log.warning(text, read=self.header.decode(), found=other, remote=peer)

    def _is_proxy(self, address: IPAddress) -> bool:
        return any(address in network for network in self._networks)


def _parse_network(text: str) -> _Network:
    """Read a network; one of IPv4 that is written as IPv6 is one of IPv4, as the addresses in it are."""
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.IPv4Network(
            (network.network_address.ipv4_mapped, network.prefixlen - _MAPPED.prefixlen)
        )
    return network
