"""Put before a server's modules: on SIGUSR2 the C library gives back all memory that nothing is in.

It keeps what is freed for what comes, in pieces between what is used. How much that is after an attacker is
chance, and says nothing about what a server has kept.
"""

import ctypes
import signal

signal.signal(signal.SIGUSR2, lambda *_: ctypes.CDLL(None).malloc_trim(0))
