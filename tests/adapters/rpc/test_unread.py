"""Which publisher pays for replies that are not read."""

from __future__ import annotations

from rr_py_ws.adapters.rpc.metrics import RPCMetrics
from rr_py_ws.adapters.rpc.unread import UnreadReplies


class Deaf:
    """A connection whose peer takes nothing."""

    def __init__(self, unsent: int) -> None:
        self.unsent = unsent
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_over_the_limit_the_one_with_most_is_closed() -> None:
    unread = UnreadReplies(100, counters := RPCMetrics())
    small, large, last = Deaf(20), Deaf(50), Deaf(30)
    for connection in (small, large, last):
        unread.update(connection)
    assert counters.unread == 0
    last.unsent = 31
    unread.update(last)
    assert [connection.aborted for connection in (small, large, last)] == [False, True, False]
    small.unsent = 69  # what the other had does not count any more
    unread.update(small)
    assert counters.unread == 1


def test_who_has_caught_up_does_not_count() -> None:
    unread = UnreadReplies(100, counters := RPCMetrics())
    for _ in range(10):
        connection = Deaf(60)
        unread.update(connection)
        unread.update(connection)
        unread.discard(connection)
        unread.discard(connection)
    assert counters.unread == 0
