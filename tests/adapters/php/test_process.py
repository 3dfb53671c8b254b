from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rr_py_ws.adapters.php import process as module
from rr_py_ws.adapters.php.output import OutputBudget
from rr_py_ws.adapters.php.process import Process, run_on_init
from rr_py_ws.config import OnInit
from rr_py_ws.errors import ConfigError, WorkerStartError
from support.loops import both_loops
from support.php_pool import RecordedLog, alive, children, descriptors
from support.waiting import DEADLINE, eventually

pytestmark = both_loops

ROOT = os.geteuid() == 0


def start(line: str, user: str = "", budget: OutputBudget | None = None, **env: str) -> Process:
    """Start a command whose output is logged."""
    env = {"PATH": os.environ["PATH"]} | env
    budget = budget or OutputBudget(500)
    return Process.start(line.split(" "), env, user, budget, stdin=subprocess.DEVNULL, stdout=None)


async def open_files() -> int:
    """How many descriptors are open, with those that the loop opens with its first process."""
    process = start("true")
    await process.wait(timeout=DEADLINE)
    process.close()
    await asyncio.sleep(0)
    return descriptors()


async def run(line: str, user: str = "", budget: OutputBudget | None = None, **env: str) -> int | None:
    process = start(line, user, budget, **env)
    return await process.wait(timeout=DEADLINE)


def script(tmp_path: Path, text: str) -> str:
    file = tmp_path / "script"
    file.write_text(text)
    file.chmod(0o755)
    return str(file)


async def test_the_command_is_split_at_every_single_space(tmp_path: Path, log: RecordedLog) -> None:
    """No quotes, no shell; two spaces make an empty argument."""
    line = script(tmp_path, '#!/bin/sh\nprintf "[%s]\\n" "$@"\n')
    assert await run(f"{line} a  'b c' $HOME") == 0
    assert log.events("info") == ["[a]", "[]", "['b]", "[c']", "[$HOME]"]


async def test_the_environment_is_the_given_one(log: RecordedLog) -> None:
    assert await run("env", A="1", B="x=y z", C="") == 0
    assert {"A=1", "B=x=y z", "C="} <= set(log.events("info"))


async def test_the_child_is_in_a_process_group_of_its_own_and_in_our_directory(log: RecordedLog) -> None:
    process = start("pwd")
    assert os.getpgid(process.pid) == process.pid
    assert await process.wait(timeout=DEADLINE) == 0
    assert log.events("info") == [str(Path.cwd())]


async def test_the_child_inherits_no_ignored_signals_and_no_descriptors(log: RecordedLog) -> None:
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    await run("grep SigIgn /proc/self/status")
    await run("ls /proc/self/fd")
    os.close(read_end)
    os.close(write_end)
    ignored, *open_files = log.events("info")
    assert int(ignored.split()[1], 16) & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)) == 0
    assert open_files == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


@pytest.mark.skipif(not ROOT, reason="only root can take another account")
async def test_the_account_is_the_users_with_its_primary_group_and_no_others(log: RecordedLog) -> None:
    assert await run("id -un", user="nobody") == 0
    assert await run("id -G", user="nobody") == 0
    name, groups = log.events("info")
    assert name == "nobody"
    assert len(groups.split()) == 1


async def test_an_unknown_account_is_named() -> None:
    with pytest.raises(WorkerStartError, match="no account 'nosuchuser'"):
        start("true", user="nosuchuser")


async def test_another_account_takes_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(WorkerStartError, match="only root"):
        start("true", user="nobody")


@pytest.mark.parametrize("line", ["no-such-program x", "", " php x", "/etc/passwd", "/", "./nothing"])
async def test_what_is_not_a_program_is_named(line: str) -> None:
    with pytest.raises(WorkerStartError, match="is not a program"):
        start(line)


async def test_an_argument_with_a_nul_cannot_be_passed() -> None:
    before = await open_files()
    with pytest.raises(WorkerStartError, match="cannot start a process"):
        start("true \0")
    await eventually(lambda: descriptors() <= before)


async def test_a_program_that_the_kernel_refuses_says_so(tmp_path: Path, log: RecordedLog) -> None:
    assert await run(script(tmp_path, "#!/no/such/interpreter\n")) == 126
    assert "No such file or directory" in log.text()


async def test_output_is_logged_line_by_line(log: RecordedLog) -> None:
    process = start("printf one\\ntwo\\n\\n\\xff\\nrest")
    await process.wait(timeout=DEADLINE)
    assert log.lines == [("info", text, {"pid": process.pid}) for text in ("one", "two", "\\xff", "rest")]
    assert process.last_words == "rest"


async def test_a_line_without_an_end_takes_no_memory(log: RecordedLog) -> None:
    assert await run("head -c 100000 /dev/zero") == 0
    assert sum(len(event.replace("\\x00", "\0")) for event in log.events("info")) <= 100_000
    assert len(log.events("info")) > 5


async def test_a_flood_of_lines_is_limited(log: RecordedLog) -> None:
    budget = OutputBudget(3)
    process = start("seq 100000", budget=budget)
    assert await process.wait(timeout=DEADLINE) == 0
    assert log.events("info") == ["1", "2", "3"]
    assert process.describe_end() == "exit code 0, its last words: '100000'"
    assert 588_000 < budget.skipped <= 588_895 - 6  # the line feeds between what was skipped are not counted


async def test_the_end_is_described(log: RecordedLog) -> None:
    process = start("ls /nothing-here")
    assert process.describe_end() == ""
    await process.wait(timeout=DEADLINE)
    assert process.describe_end().startswith(
        "exit code 2, its last words: \"ls: cannot access '/nothing-here'"
    )
    process = start("sleep 600")
    os.kill(process.pid, signal.SIGTERM)
    assert await process.wait(timeout=DEADLINE) == -signal.SIGTERM
    assert process.describe_end() == "ended by signal 15"


async def test_waiting_can_have_an_end() -> None:
    process = start("sleep 600")
    assert await process.wait(timeout=0.01) is None
    process.kill()
    assert await process.wait(timeout=DEADLINE) == -signal.SIGKILL
    process.kill()
    assert children() == []


async def test_killing_takes_what_the_child_started(tmp_path: Path, log: RecordedLog) -> None:
    process = start(script(tmp_path, "#!/bin/sh\nsleep 600 &\necho $!\nwait\n"))
    await eventually(lambda: log.events("info"))
    grandchild = int(log.events("info")[0])
    process.kill()
    assert await process.wait(timeout=DEADLINE) == -signal.SIGKILL
    await eventually(lambda: not alive(grandchild))


async def test_what_a_child_leaves_behind_ends_with_it(tmp_path: Path, log: RecordedLog) -> None:
    """Workers that are replaced again and again would leave more and more of them."""
    process = start(script(tmp_path, "#!/bin/sh\nsleep 600 &\necho $!\n"))
    assert await process.wait(timeout=DEADLINE) == 0
    grandchild = int(log.events("info")[0])
    await eventually(lambda: not alive(grandchild))
    assert children() == []


async def test_nothing_stays_open_after_the_end() -> None:
    before = await open_files()
    for _ in range(10):
        process = start("true")
        await process.wait(timeout=DEADLINE)
        process.close()
    await eventually(lambda: descriptors() <= before)


async def test_output_of_a_daemon_is_let_go(tmp_path: Path) -> None:
    """What the child left running may keep its stderr; nobody waits for it, and nothing leaks."""
    before = await open_files()
    process = start(script(tmp_path, "#!/bin/sh\nsetsid sleep 600 &\necho $! >&2\n"))
    assert await process.wait(timeout=DEADLINE) == 0
    process.close()
    await eventually(lambda: descriptors() <= before)
    os.kill(int(process.last_words), signal.SIGKILL)


def test_the_shim_starts_nothing_when_the_server_is_gone() -> None:
    """It looks for its parent after it asked to die with it."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", module._EXEC_SHIM, "1", "1024", "", "/bin/echo", "echo", "started"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("command", "timeout", "problem"),
    [
        ("no-such-program", 60.0, "cannot start 'no-such-program': 'no-such-program' is not a program"),
        ("false", 60.0, "'false': exit code 1"),
        ("sleep 1000", 0.1, "'sleep 1000' took longer than 0.1 s"),
    ],
)
async def test_a_failed_on_init_ends_the_start_when_the_file_says_so(
    command: str, timeout: float, problem: str
) -> None:
    """Point 2: `exit_on_error` of RoadRunner 2023.3 protects, so it is obeyed."""
    options, budget = {"command": command, "exec_timeout": timeout}, OutputBudget(500)
    await run_on_init(OnInit.model_validate(options), budget)
    with pytest.raises(ConfigError) as caught:
        await run_on_init(OnInit.model_validate(options | {"exit_on_error": True}), budget)
    assert str(caught.value).startswith(f"server.on_init: {problem}")
