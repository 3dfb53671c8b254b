"""Which web pages may connect: RoadRunner's `allowed_origin` rule, for one value or several."""

from __future__ import annotations

from collections.abc import Sequence


class OriginRule:
    """Decides by the `Origin` header (roadrunner-server/websockets origin.go, wildcard.go @v2.16.5).

    A value without a star must equal the origin; with one, the origin must begin and end like the value, the
    first star standing for any text, also none. Case is ignored. `*` allows everything, also requests without
    the header; nothing else allows those.

    Args:
        values: at least one; an origin is allowed when one of them allows it.

    Attributes:
        allows_all: whether every request is allowed.
    """

    def __init__(self, values: Sequence[str]) -> None:
        self.allows_all = "*" in values
        self._patterns = [value.lower().partition("*") for value in values]

    def allows(self, origin: str) -> bool:
        """Whether a request with this origin (empty: without the header) may go on."""
        if self.allows_all or not origin:
            return self.allows_all
        origin = origin.lower()
        return any(
            len(origin) >= len(prefix) + len(suffix) and origin.startswith(prefix) and origin.endswith(suffix)
            if star
            else origin == prefix
            for prefix, star, suffix in self._patterns
        )
