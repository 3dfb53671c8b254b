"""What the headers of proxies say about the client: the addresses in them, the nearest proxy's word first.

One reader for all of them, because proxies write addresses in many forms: `192.0.2.1`, `192.0.2.1:4711`
(Azure), `2001:db8::1`, `"[2001:db8::1]:4711"`, `for=192.0.2.1;proto=https` (RFC 7239).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from rr_py_ws.address import parse_ip

IPAddress = IPv4Address | IPv6Address

# In the text backwards: what an attacker wrote is before what the proxy wrote, and an unpaired quote in it
# must not swallow that.
_ELEMENT = re.compile(r'((?:[^",]++|"[^"]*"|")*)(?:,|\Z)')
_PAIR = re.compile(r'[ \t]*+([^=;"\s]++)[ \t]*+=[ \t]*+("[^"]*+"[ \t]*+|[^;"]*+)(?:;|\Z)')
_NO_PAIR = re.compile(r"(?:[ \t]*+;)+[ \t]*+")
_NODE = re.compile(r"(?:\[([^]]*)\]|([^:\[\]]*))(?::[\w.-]*)?", re.ASCII)


def addresses(name: bytes, lines: list[str]) -> Iterator[IPAddress | None]:
    """Yield who sent the request, the sender that the last proxy has seen first.

    Args:
        name: of the header, in lower case.
        lines: its values, which are one list.

    Yields:
        An address, or None for a sender that is not named: `unknown`, `_hidden`, or no address at all.
    """
    for element in _elements_backwards(",".join(lines)):
        node = _forwarded_for(element) if name == b"forwarded" else element
        yield _parse_node(node)


def _elements_backwards(value: str) -> Iterator[str]:
    """Split a list, from its end; a comma between quotes separates nothing, and empty elements are none."""
    for found in _ELEMENT.finditer(value[::-1]):
        element = found[1][::-1].strip(" \t")
        if element:
            yield element


def _forwarded_for(element: str) -> str:
    """Return the `for` of an element of `Forwarded`; empty when it has none or cannot be read."""
    end = 0
    nodes = []
    while end < len(element):
        if nothing := _NO_PAIR.match(element, end):  # RFC 7239 section 4: pairs may be left out
            end = nothing.end()
            continue
        pair = _PAIR.match(element, end)
        if pair is None:
            return ""
        end = pair.end()
        if pair[1].lower() == "for":
            nodes.append(pair[2])
    return nodes[0] if len(nodes) == 1 else ""


def _parse_node(node: str) -> IPAddress | None:
    text = node.strip(" \t")
    if text.startswith('"') and text.endswith('"'):
        text = text[1:-1].replace("\\", "").strip(" \t")
    # Several colons without brackets are an IPv6 address, and no port.
    found = _NODE.fullmatch(text)
    host = (found[1] or found[2] or "") if found else text
    try:
        return parse_ip(host.partition("%")[0])  # the zone means something to the proxy only
    except ValueError:
        return None
