"""How much memory a server process holds, and how much more at most since some moment."""

from __future__ import annotations

import re
from pathlib import Path

KIB, MIB = 1024, 1024 * 1024


class Memory:
    """Resident bytes of a process, compared with those of the moment when this was made.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        (self._process / "clear_refs").write_text("5")  # forget the peak so far (proc(5))
        self._before = self._read("VmRSS")

    def growth(self) -> int:
        """Bytes more than before."""
        return self._read("VmRSS") - self._before

    def peak(self) -> int:
        """Bytes more than before, at most, since then."""
        return self._read("VmHWM") - self._before

    def _read(self, name: str) -> int:
        found = re.search(rf"{name}:\s+(\d+) kB", (self._process / "status").read_text())
        assert found
        return int(found[1]) * KIB
