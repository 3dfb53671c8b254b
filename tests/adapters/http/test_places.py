"""Connections of several processes, counted together."""

from __future__ import annotations

import os

from rr_py_ws.adapters.http.places import SharedPlaces


def test_each_sees_what_the_others_have() -> None:
    shared = SharedPlaces(3)
    one, other, third = (shared.of(number) for number in range(3))
    one.set_taken(2)
    other.set_taken(3)
    assert [places.taken_elsewhere() for places in (one, other, third)] == [3, 2, 5]
    one.count_network(b"a", 1)
    one.count_network(b"a", 1)
    other.count_network(b"a", 1)
    assert [places.of_network_elsewhere(b"a") for places in (one, other, third)] == [1, 2, 3]
    one.count_network(b"a", -1)
    assert third.of_network_elsewhere(b"a") == 2
    assert one.processes == 3


def test_what_a_process_had_is_forgotten_with_it() -> None:
    shared = SharedPlaces(2)
    one, other = shared.of(0), shared.of(1)
    one.set_taken(7)
    one.count_network(b"a", 1)
    other.count_network(b"a", 1)
    shared.clear(0)
    assert (other.taken_elsewhere(), other.of_network_elsewhere(b"a")) == (0, 0)
    assert one.of_network_elsewhere(b"a") == 1
    one.count_network(b"a", -1)  # of a process that has taken its place and never counted it
    assert other.of_network_elsewhere(b"a") == 0


def test_a_process_that_is_forked_counts_in_the_same_memory() -> None:
    shared = SharedPlaces(2)
    child = os.fork()
    if child == 0:
        shared.of(1).set_taken(5)
        shared.of(1).count_network(b"a", 1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (shared.of(0).taken_elsewhere(), shared.of(0).of_network_elsewhere(b"a")) == (5, 1)
