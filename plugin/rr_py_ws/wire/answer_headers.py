"""The headers of an answer, as a list that several parts of the program work on."""

from __future__ import annotations


class AnswerHeaders:
    """A list of headers to look names up in.

    Args:
        raw: names, in lower case, and values; it is changed.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    def __contains__(self, name: bytes) -> bool:
        return any(known == name for known, _ in self._raw)

    def get(self, name: bytes) -> str:
        """Return the first value of a name; empty when there is none."""
        for known, value in self._raw:
            if known == name:
                return value.decode("latin-1")
        return ""

    def put(self, name: bytes, value: str) -> None:
        """Give a name this one value, where its first one is, or at the end."""
        raw, pair = self._raw, (name, value.encode("latin-1"))
        for index, (known, _) in enumerate(raw):
            if known == name:
                raw[index:] = [pair, *[other for other in raw[index + 1 :] if other[0] != name]]
                return
        raw.append(pair)

    def drop(self, *names: bytes) -> None:
        """Leave these out."""
        self._raw[:] = [pair for pair in self._raw if pair[0] not in names]
