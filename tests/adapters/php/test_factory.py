from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest

from rr_py_ws.adapters.net import deadline
from rr_py_ws.adapters.php.factory import worker_environment
from rr_py_ws.adapters.php.process import Process
from rr_py_ws.config import Server
from rr_py_ws.errors import WorkerStartError
from support.php_pool import RecordedLog, Start, ask, children, make_factory, misbehaving
from support.ports import needs_ipv6
from support.standstill import stand_still
from support.waiting import DEADLINE, eventually


class TestEnvironment:
    """Order and names of RoadRunner 2.7 and newer; of two values the later counts."""

    def test_has_what_php_packages_look_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FROM_SERVER", "1")
        server = Server(command="php", env={"app_key": "k"})
        plugin = {"RR_MODE": "http", "RR_BROADCAST_PATH": "/ws"}
        env = worker_environment(server, "tcp://127.0.0.1:7000", "tcp://127.0.0.1:6001", plugin)
        expected = {
            "FROM_SERVER": "1",
            "RR_RELAY": "tcp://127.0.0.1:7000",
            "RR_RPC": "tcp://127.0.0.1:6001",
            "APP_KEY": "k",
            "RR_VERSION": "2.11.4",
            "RR_MODE": "http",
            "RR_BROADCAST_PATH": "/ws",
        }
        assert expected.items() <= env.items()

    def test_the_configuration_wins_over_the_servers_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("APP_KEY", "old")
        monkeypatch.setenv("RR_RELAY", "unix:///old")
        env = worker_environment(Server(command="php", env={"APP_KEY": "new"}), "pipes", "", {})
        assert (env["APP_KEY"], env["RR_RELAY"]) == ("new", "pipes")

    def test_the_configuration_may_replace_the_rpc_address_but_not_the_mode(self) -> None:
        server = Server(command="php", env={"RR_RPC": "tcp://other:1", "RR_MODE": "jobs"})
        env = worker_environment(server, "pipes", "tcp://127.0.0.1:6001", {"RR_MODE": "http"})
        assert (env["RR_RPC"], env["RR_MODE"]) == ("tcp://other:1", "http")

    def test_without_an_rpc_server_none_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("RR_RPC", raising=False)
        assert "RR_RPC" not in worker_environment(Server(command="php"), "pipes", "", {})

    async def test_reaches_php(self, start: Start, relay_dsn: str) -> None:
        pool = await start(server={"relay": relay_dsn, "env": {"app_key": "ä b"}})
        env = json.loads((await ask(pool, "do=env")).body)
        assert (env["RR_RELAY"], env["APP_KEY"], env["RR_BROADCAST_PATH"]) == (relay_dsn, "ä b", "/ws")

    @pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("[::1]", marks=needs_ipv6)])
    async def test_names_the_real_port_of_a_relay_on_any_port(self, start: Start, host: str) -> None:
        pool = await start(server={"relay": f"tcp://{host}:0"})
        relay = json.loads((await ask(pool, "do=env")).body)["RR_RELAY"]
        address, _, port = relay.rpartition(":")
        assert address == f"tcp://{host}" and int(port) > 0


async def start_failure(command: str, timeout: float = 20.0, **server: object) -> str:
    """Start a worker that cannot be started; nothing of it is left."""
    factory = make_factory(command, **server)
    await factory.open()
    try:
        with pytest.raises(WorkerStartError) as caught:
            await factory.start(timeout)
    finally:
        await factory.close()
    await eventually(lambda: not children())
    assert str(caught.value).startswith(f"server.command: cannot start '{command}': ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_in_a_turn_of_the_event_loop_one_process_is_started(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen at once, for a reset or because workers died, let nobody else have a turn for 40 ms."""
    turns: list[int] = []
    now = 0
    original = Process.start.__func__  # type: ignore[attr-defined]

    def recording(*args: Any, **kwargs: Any) -> Process:
        turns.append(now)
        return cast(Process, original(Process, *args, **kwargs))

    async def count() -> None:
        nonlocal now
        while True:
            now += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(Process, "start", recording)
    counting = asyncio.create_task(count())
    await start(workers=4)
    counting.cancel()
    assert len(set(turns)) == 4


class TestHandshake:
    async def test_a_missing_script_is_shown_as_php_says_it(self) -> None:
        assert "Could not open input file: nowhere.php" in await start_failure("php nowhere.php")

    async def test_a_missing_program_is_named(self) -> None:
        assert "'phpp' is not a program" in await start_failure("phpp worker.php")

    async def test_a_worker_that_ends_at_once_is_quoted(self) -> None:
        assert "exit code 5, its last words: 'no configuration'" in await start_failure(misbehaving("exits"))

    async def test_a_worker_that_does_not_answer_is_given_up(self) -> None:
        text = await start_failure(misbehaving("silent"), timeout=0.2)
        assert text.endswith("no answer to the handshake within 0.2 s")

    async def test_what_it_wrote_meanwhile_is_shown(self, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_text("#!/bin/sh\nprintf S\nexec sleep 600\n")
        script.chmod(0o755)
        text = await start_failure(str(script), timeout=1.0)
        assert text.endswith("no answer to the handshake within 1 s: 'S'")

    async def test_a_worker_that_closes_its_end_is_given_up(self) -> None:
        assert "closed its relay" in await start_failure(misbehaving("closes-stdout"))

    async def test_output_before_the_handshake_is_shown(self) -> None:
        assert "Notice: undefined variable" in await start_failure(misbehaving("noise"))

    async def test_output_behind_the_handshake_is_shown(self) -> None:
        assert "wrote more than its answer" in await start_failure(misbehaving("talks-at-once"))

    @pytest.mark.parametrize(
        ("mode", "words"),
        [("pid-zero", "has no pid"), ("no-control", "control frame was due"), ("stop-reply", "stop command")],
    )
    async def test_a_wrong_answer_is_named(self, mode: str, words: str) -> None:
        assert words in await start_failure(misbehaving(mode))

    async def test_a_worker_that_answered_while_the_server_stood_still_is_not_too_late(
        self, relay_dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deadline, "MOMENT", DEADLINE)
        factory = make_factory(relay=relay_dsn, relay_timeout=0.1)
        await factory.open()
        starting = asyncio.ensure_future(factory.start(0.1))
        await asyncio.sleep(0)
        await stand_still(0.2)
        await (await starting).stop()
        await factory.close()

    @pytest.mark.parametrize("mode", ["exits", "silent"])
    async def test_a_worker_that_does_not_connect_is_given_up(
        self, mode: str, relay_dsn: str, log: RecordedLog
    ) -> None:
        await start_failure(misbehaving(mode), timeout=0.5, relay=relay_dsn)

    async def test_a_start_that_is_not_wanted_any_more_leaves_nothing(self, relay_dsn: str) -> None:
        factory = make_factory(misbehaving("silent"), relay=relay_dsn)
        await factory.open()
        starting = asyncio.ensure_future(factory.start(60))
        await eventually(children)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert children() == []
        await factory.close()

    async def test_closing_ends_workers_that_are_being_started(self, relay_dsn: str) -> None:
        factory = make_factory(misbehaving("silent"), relay=relay_dsn)
        await factory.open()
        starting = asyncio.ensure_future(factory.start(60))
        await eventually(children)
        await factory.close()
        with pytest.raises(WorkerStartError, match="the server is stopping"):
            await starting
        assert children() == []
