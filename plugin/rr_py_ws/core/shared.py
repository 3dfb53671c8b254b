"""What is worked out once for many clients that want the same, as all do that come back after an outage."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Shared(Generic[_Value]):
    """Remembers values for a while. When they get too many bytes, all are forgotten.

    Args:
        most: bytes of all values.
        largest: bytes of one that is remembered.
    """

    def __init__(self, most: int = 4 * 1024 * 1024, largest: int = 16 * 1024) -> None:
        self._most = most
        self._largest = largest
        self._size = 0
        self._values: dict[Hashable, _Value] = {}
        self.get = self._values.get

    def add(self, key: Hashable, value: _Value, size: int) -> None:
        """Remember a value that takes so many bytes, and its key with it."""
        if size > self._largest:
            return
        self._size += size
        if self._size > self._most:
            self._values.clear()
            self._size = size
        self._values[key] = value
