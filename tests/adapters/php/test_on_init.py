from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from rr_py_ws.adapters.php.output import OutputBudget
from rr_py_ws.adapters.php.process import run_on_init
from rr_py_ws.config import OnInit
from support.php_pool import RecordedLog, alive, children
from support.waiting import eventually


async def test_a_service_that_it_starts_goes_on(tmp_path: Path, log: RecordedLog) -> None:
    script = tmp_path / "init"
    script.write_text("#!/bin/sh\nsleep 600 > /dev/null 2>&1 &\necho $!\n")
    script.chmod(0o755)
    await run_on_init(OnInit(command=str(script)), OutputBudget(500))
    service = int(log.events("info")[0])
    assert alive(service)
    os.kill(service, signal.SIGKILL)


async def test_runs_the_command_and_logs_what_it_prints(log: RecordedLog, tmp_path: Path) -> None:
    script = tmp_path / "migrate"
    script.write_text("#!/bin/sh\necho migrating $TABLE\necho careful >&2\n")
    script.chmod(0o755)
    await run_on_init(OnInit(command=str(script), env={"table": "users"}), OutputBudget(500))
    assert log.events("info") == ["migrating users", "careful"]
    assert log.events("error") == []


async def test_the_servers_environment_wins(log: RecordedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGE", "live")
    await run_on_init(OnInit(command="printenv STAGE RR_MODE", env={"stage": "test"}), OutputBudget(500))
    assert log.events("info") == ["live"]


@pytest.mark.parametrize("command", ["no-such-program", "false", "ls /nothing-here"])
async def test_a_failure_is_logged_and_does_no_harm(log: RecordedLog, command: str) -> None:
    await run_on_init(OnInit(command=command), OutputBudget(500))
    assert len(log.events("error")) == 1
    assert command in log.text()


async def test_a_command_that_takes_too_long_is_killed(log: RecordedLog) -> None:
    await run_on_init(OnInit(command="sleep 600", exec_timeout=0.05), OutputBudget(500))
    assert log.events("error") == ["server.on_init took too long and is killed"]
    assert children() == []


async def test_cancelling_kills_the_command(log: RecordedLog) -> None:
    running = asyncio.ensure_future(run_on_init(OnInit(command="sleep 600"), OutputBudget(500)))
    await eventually(children)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually(lambda: not children())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another account")
async def test_runs_as_the_given_account(log: RecordedLog) -> None:
    await run_on_init(OnInit(command="id -un", user="nobody"), OutputBudget(500))
    assert log.events("info") == ["nobody"]
