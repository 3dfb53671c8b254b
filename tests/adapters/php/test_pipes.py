from __future__ import annotations

import os

from rr_py_ws.adapters.php.pipes import PipeWriter
from support.loops import both_loops
from support.waiting import eventually

pytestmark = both_loops


async def test_a_piece_that_follows_a_long_one_begins_undivided() -> None:
    """PHP reads the header of a frame with one call, and dies when a part of it is missing."""
    read_end, write_end = os.pipe()
    broken: list[bool] = []
    writer = PipeWriter(write_end, lambda: broken.append(True))
    capacity = os.fpathconf(read_end, "PC_PIPE_BUF") * 16
    # Cut anywhere, the second piece would begin in what the pipe takes first.
    long = b"x" * (2 * capacity - 6)
    writer.write(long)
    writer.write(b"the header")
    taken = b""
    os.set_blocking(read_end, False)

    def read() -> bool:
        nonlocal taken
        try:
            taken += os.read(read_end, len(long) - len(taken))
        except BlockingIOError:
            return False
        return len(taken) == len(long)

    await eventually(read)
    rest: list[bytes] = []

    def read_header() -> bool:
        try:
            rest.append(os.read(read_end, 12))
        except BlockingIOError:
            return False
        return True

    await eventually(read_header)
    assert (taken, rest, broken) == (long, [b"the header"], [])
    os.close(read_end)
    await eventually(lambda: broken)
