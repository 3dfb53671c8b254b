"""Connections of all processes that serve the clients of one server, in memory that they share.

Each process writes its own numbers only, and adds up those of the others when it has to know: no lock is
needed, and what two do in the same instant makes a limit exceed by one for each process at most.
"""

from __future__ import annotations

from mmap import mmap

_NETWORKS = 1 << 16
"""Counters of each process for addresses. Two addresses that share one are told apart within a process, and
taken for one among the others."""
_FULL = 0xFFFF


class SharedPlaces:
    """The numbers of all processes; made before they are forked.

    Args:
        processes: how many there are.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._taken = memoryview(mmap(-1, 8 * processes)).cast("Q")
        # Pages of memory that nobody has written to take none.
        self._networks = memoryview(mmap(-1, 2 * _NETWORKS * processes)).cast("H")

    def of(self, process: int) -> Places:
        """Return the numbers as one process sees them.

        Args:
            process: its number, from 0.
        """
        return Places(self._taken, self._networks, process)

    def clear(self, process: int) -> None:
        """The process is gone, and its connections with it."""
        self._taken[process] = 0
        start = process * _NETWORKS
        self._networks[start : start + _NETWORKS] = memoryview(bytes(2 * _NETWORKS)).cast("H")


class Places:
    """See `SharedPlaces`."""

    def __init__(self, taken: memoryview, networks: memoryview, process: int) -> None:
        self._taken = taken
        self._networks = networks
        self._process = process
        self.processes = len(taken)

    def set_taken(self, number: int) -> None:
        """This process has so many connections."""
        self._taken[self._process] = number

    def taken_elsewhere(self) -> int:
        """Return how many the others have."""
        return sum(self._taken) - self._taken[self._process]

    def count_network(self, network: bytes, change: int) -> None:
        """This process has so many more connections of an address."""
        place = self._process * _NETWORKS + _slot(network)
        self._networks[place] = min(_FULL, max(0, self._networks[place] + change))

    def of_network_elsewhere(self, network: bytes) -> int:
        """Return how many connections of an address the others have; of another one perhaps, too."""
        slot = _slot(network)
        own = self._process * _NETWORKS + slot
        return sum(self._networks[slot::_NETWORKS]) - self._networks[own]


def _slot(network: bytes) -> int:
    # The hash has a key that nobody outside knows, and that all processes have from their parent.
    return hash(network) % _NETWORKS
