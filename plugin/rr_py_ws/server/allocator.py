"""How the C library keeps memory: large messages come and go all the time, and their pages stay."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""By these an operator sets the limits (mallopt(3))."""
_MIB = 1024 * 1024
_LARGEST = 8 * _MIB
"""Blocks below this come from the heap, and not from the kernel, which clears each page of them."""
_KEPT = 32 * _MIB
"""As much free memory stays at the end of the heap; by default it may go back with each message."""


def keep_freed_memory() -> None:
    """Set both limits of glibc, unless the environment does; elsewhere nothing happens.

    By default they follow from the largest block that was freed so far: a server that had one message of 8 MB
    takes a third of the time for all of 1 MB that come later. Setting one of them alone makes it worse.
    """
    if any(name in os.environ for name in _VARIABLES):
        return
    with suppress(OSError, AttributeError):  # a C library without them, as musl
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
