"""What stands for the transport of a peer that has left."""

from __future__ import annotations

import weakref

from rr_py_ws.adapters.rpc.gone import GoneTransport


def test_after_its_end_it_holds_the_connection_no_longer() -> None:
    """The cycle collector runs rarely: after attackers, hundreds of connections held their last bytes."""
    ends: list[str] = []

    class Connection:
        def __init__(self) -> None:
            self.transport = GoneTransport(self.forget)

        def forget(self) -> None:
            ends.append("forgotten")

    connection = Connection()
    left, transport = weakref.ref(connection), connection.transport
    del connection
    assert left() is not None
    transport.close()
    assert left() is None
    transport.abort()
    assert ends == ["forgotten"]
