"""What each of several listener processes may have."""

from __future__ import annotations

from typing import Any

from rr_py_ws.config import Config, WebSockets
from rr_py_ws.server.shares import for_listener


def config(**section: Any) -> Config:
    return Config(path="/.rr.yaml", websockets=WebSockets.model_validate(section))  # type: ignore[arg-type]


def test_one_process_has_everything() -> None:
    loaded = config(limits={"max_joins_waiting": 10})
    assert for_listener(loaded, 1).settings.limits.max_joins_waiting == 10


def test_a_number_of_processes_that_counts_after_a_restart_divides_nothing_before() -> None:
    """The file may say it at a reload, together with limits that count at once."""
    loaded = config(processes=1, limits={"max_joins_waiting": 30})
    assert for_listener(loaded, 3).settings.limits.max_joins_waiting == 10


def test_limits_of_the_server_are_divided_and_rounded_up() -> None:
    limits = {"max_handshakes": 10, "handshakes_per_second": 100, "max_joins_waiting": 1}
    own = for_listener(config(limits=limits, http={"max_tunnels": 7}), 3).settings
    assert (own.limits.max_handshakes, own.limits.handshakes_per_second) == (4, 34)
    assert (own.limits.max_joins_waiting, own.http.max_tunnels) == (1, 3)


def test_no_limit_stays_no_limit() -> None:
    own = for_listener(config(pool={"num_workers": 3}), 4).settings.limits
    assert own.handshakes_per_second == 0
    assert own.max_handshakes == 3  # four for each worker, over all processes


def test_what_is_counted_together_and_what_one_client_may_do_is_not_divided() -> None:
    limits = {"max_connections": 10, "max_connections_per_address": 5, "max_topics": 7}
    own = for_listener(config(limits=limits), 3).settings.limits
    assert (own.max_connections, own.max_connections_per_address, own.max_topics) == (10, 5, 7)


def test_a_refusal_fits_into_the_memory_of_refusals() -> None:
    limits = {"max_refusal_size": 1000, "refusal_memory": 1500}
    assert for_listener(config(limits=limits), 4).settings.limits.refusal_memory == 1000
