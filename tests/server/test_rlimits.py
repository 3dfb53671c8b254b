"""How file descriptors are shared out."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from rr_py_ws.config import Config, WebSockets
from rr_py_ws.server import rlimits


def share(monkeypatch: pytest.MonkeyPatch, limit: int, **limits: int) -> rlimits.FileLimits:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    return rlimits.share(config(limits=limits))


def config(**more: Any) -> Config:
    section = {"authorize": "php", "pool": {"num_workers": 4}} | more
    return Config(path="/.rr.yaml", websockets=WebSockets.model_validate(section))  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [64, 256, 1024, 4096, 65_536, 1_048_576])
@pytest.mark.parametrize("asked", [0, 10, 50_000])
def test_what_is_shared_out_is_there(monkeypatch: pytest.MonkeyPatch, limit: int, asked: int) -> None:
    shares = share(monkeypatch, limit, max_connections=asked)
    assert 1 <= shares.clients <= (asked or limit)
    assert shares.rpc >= 1
    if limit >= 256:
        assert shares.clients + shares.refusals + shares.rpc + 64 + 4 * 8 <= limit


def test_without_a_limit_clients_get_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = share(monkeypatch, 10_000)
    assert shares.clients == 10_000 - 1024 - 128 - 64 - 4 * 8
    assert shares.warning == ""


def test_a_limit_of_the_configuration_holds_when_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = share(monkeypatch, 10_000, max_connections=5_000, max_rpc_connections=100)
    assert (shares.clients, shares.rpc, shares.warning) == (5_000, 100, "")


def test_too_few_for_the_configuration_are_told_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = share(monkeypatch, 4096, max_connections=10_000)
    assert "open files, 4096, is below the 11248 that" in shares.warning
    assert f"only {shares.clients} clients and 1024 RPC connections" in shares.warning
    assert shares.clients < 4096


@pytest.mark.parametrize("limit", [256, 1024, 10_000])
def test_what_is_passed_on_takes_two(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    alone = share(monkeypatch, limit)
    shares = rlimits.share(config(http={"forward": "http://a", "max_tunnels": 500}))
    assert shares.wanted == alone.wanted + 256 + 500
    assert shares.clients == alone.clients - min(256 + 500, alone.clients // 2)


def test_each_of_several_processes_has_all_of_its_limit_for_what_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody reaches RPC at a listener, and it has no workers; no client comes to the core."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    loaded = config(processes=4, limits={"max_connections": 2000, "max_rpc_connections": 900})
    listener, core = rlimits.share(loaded, core=False), rlimits.share(loaded, clients=False)
    assert (listener.clients, listener.refusals, listener.rpc) == (1024 - 64 - 64, 64, 0)
    assert (core.clients, core.refusals, core.rpc) == (0, 0, 900)
    assert (listener.warning, core.warning) == ("", "")


def test_a_process_that_has_too_few_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    loaded = config(processes=4, limits={"max_connections": 2000})
    listener, core = rlimits.share(loaded, core=False), rlimits.share(loaded, clients=False)
    assert "below the 580 that" in listener.warning
    assert "only 176 clients are let in by each listener process; " in listener.warning
    assert listener.warning.endswith("lower websockets.limits.max_connections")
    assert "only 160 RPC connections are let in by the core process; " in core.warning
    assert core.warning.endswith("lower websockets.limits.max_rpc_connections")


def test_a_limit_that_is_none_is_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert share(monkeypatch, resource.RLIM_INFINITY).clients > 1_000_000


def test_a_limit_that_cannot_be_raised_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `fs.nr_open` was lowered below the hard limit, the kernel refuses even to keep that."""

    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    rlimits.raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
