"""Whether a child process still turns its event loop: the parent asks it, and the loop answers.

Only time in which the child could have answered counts. So nothing happens to one that waits for a
processor on a busy machine, or for a disk, nor after the machine, the container or the parent itself was
suspended.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LOOKS = 5
"""Looks within the limit: what is between two of them, a suspended machine too, is one part of it."""
_START = 10
"""Times the limit that a process has until its first answer: it has to load its modules."""
_ROUNDING = 1e-6
_TICKS = os.sysconf("SC_CLK_TCK")


class Heartbeat:
    """What the parent knows of one process.

    Args:
        pid: of the process.
        limit: seconds without an answer.

    Attributes:
        asked: whether an answer is due.
        silence: seconds without an answer, as far as they count.
    """

    def __init__(self, pid: int, limit: float) -> None:
        self.asked = False
        self.silence = 0.0
        self._pid = pid
        self._limit = limit
        self._allowed = limit * _START
        self._used = 0.0

    def answer(self) -> None:
        """It has answered."""
        self.asked = False
        self.silence = 0.0
        self._allowed = self._limit

    def ask(self) -> None:
        """It is asked now."""
        self.asked = True
        self._used = processor_time(self._pid)[1]

    def miss(self) -> bool:
        """No answer has come until this look; return whether that is enough to give the process up."""
        state, used = processor_time(self._pid)
        part = self._limit / LOOKS
        if state == "R":  # it runs, or waits for a processor: what counts is what it got
            self.silence += min(part, used - self._used)
        elif state != "D":  # one that waits for a disk could not even be killed
            self.silence += part
        self._used = used
        return self.silence >= self._allowed - _ROUNDING


def processor_time(pid: int) -> tuple[str, float]:
    """Return the state of a process as the kernel shows it, and the seconds of processors it has used."""
    with suppress(OSError, ValueError, IndexError):  # it has just ended
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        return after_name[0].decode(), (int(after_name[11]) + int(after_name[12])) / _TICKS
    return "", 0.0
