"""`stop`, and the `.pid` file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.cli.entry import run
from rr_py_ws.cli.pid_file import PID_FILE, RunningServer, pid_file
from rr_py_ws.errors import ConfigError
from support.php_pool import descriptors
from support.program import one_error_line

# Tells how often it was told to end; ends at the last time.
SERVER = """
import signal, sys
from rr_py_ws.cli.pid_file import pid_file
times = int(sys.argv[1])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
with pid_file():
    print("ready", flush=True)
    for _ in range(times):
        signal.sigwait([signal.SIGTERM])
        print("told", flush=True)
"""


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=[1])
def server(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends at the SIGTERM of this number; its id is in `.pid`."""
    command = [sys.executable, "-c", SERVER, str(request.param)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_stop_tells_the_server_to_end(
    server: subprocess.Popen[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["stop"]) == 0
    assert server.wait() == 0
    assert capfd.readouterr() == ("", f"stopping process with PID: {server.pid}\n")


@pytest.mark.parametrize("server", [2], indirect=True)
@pytest.mark.parametrize("args", [["stop", "--force"], ["-f", "stop"]])
def test_stop_by_force_tells_it_twice(server: subprocess.Popen[bytes], args: list[str]) -> None:
    assert run(args) == 0
    assert server.wait() == 0


@pytest.mark.parametrize("server", [2], indirect=True)
def test_stop_without_force_tells_it_once_and_does_not_wait(server: subprocess.Popen[bytes]) -> None:
    assert run(["stop", "-s"]) == 0
    # Two of the same signal that nobody has taken yet count as one.
    assert server.stdout is not None and server.stdout.readline() == b"told\n"
    assert server.poll() is None
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_the_file_is_looked_for_in_the_working_directory(
    server: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is that of the configuration, unless -w says otherwise; the file itself is not needed."""
    monkeypatch.chdir("/")
    assert run(["stop", "-c", str(tmp_path / "any.yaml"), "-s"]) == 0
    assert server.wait() == 0


def test_without_the_file_the_error_says_how_to_get_one(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["stop"]) == 1
    assert one_error_line(capfd.readouterr().err) == (
        "open .pid: no such file or directory, to create a .pid file, you must run RR with the following"
        " options: 'rr-py-ws serve -p'"
    )


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"-1", b"0", b"12 34", b"4294967297", b"\xff\x1b[2J", b"1" * 5000, "١".encode()]
)
def test_what_is_no_process_id_is_never_signalled(content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """0 and negative numbers would reach whole process groups."""
    PID_FILE.write_bytes(content)
    assert run(["stop"]) == 1
    assert "does not hold a process id" in one_error_line(capfd.readouterr().err)


def test_a_file_left_from_a_crash_is_recognised(
    server: subprocess.Popen[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    server.kill()
    server.wait()
    assert PID_FILE.read_text() == str(server.pid)
    assert run(["stop", "-s"]) == 1
    assert f"nothing was sent to process {server.pid}" in one_error_line(capfd.readouterr().err)
    with pid_file():  # the next server takes the file over
        assert PID_FILE.read_text() == str(os.getpid())


def test_a_process_that_has_the_number_by_chance_is_not_signalled(capfd: pytest.CaptureFixture[str]) -> None:
    """Numbers are used again: a second `stop`, or one after a crash, ended somebody else's process."""
    with subprocess.Popen(["sleep", "600"]) as stranger:
        PID_FILE.write_text(str(stranger.pid))
        assert run(["stop", "--force"]) == 1
        assert "no running server keeps" in one_error_line(capfd.readouterr().err)
        assert stranger.poll() is None
        stranger.kill()


def test_the_number_in_the_file_is_not_believed(server: subprocess.Popen[bytes]) -> None:
    """It is that of another namespace in a container, or somebody has written into the file."""
    with subprocess.Popen(["sleep", "600"]) as stranger:
        PID_FILE.write_text(str(stranger.pid))
        assert run(["stop", "-s"]) == 0
        assert server.wait() == 0
        assert stranger.poll() is None
        stranger.kill()


def test_who_locks_the_file_for_reading_is_no_server(capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever may read the file can do that: `stop` signalled such a process."""
    PID_FILE.write_text("1")
    script = "import fcntl; f = open('.pid'); fcntl.lockf(f, fcntl.LOCK_SH); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout and other.stdout.readline()
        assert run(["stop"]) == 1
        assert "no running server keeps " in capfd.readouterr().err
        with pytest.raises(ConfigError, match=r"a process that is no server keeps .* locked"), pid_file():
            pass
        other.communicate(b"\n")
        assert other.returncode == 0


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(
    capfd: pytest.CaptureFixture[str], make: Callable[[Path], None]
) -> None:
    make(PID_FILE)
    assert run(["stop"]) == 1
    assert str(PID_FILE.absolute()) in capfd.readouterr().err
    with pytest.raises(ConfigError, match="--pid"), pid_file():
        pass
    assert PID_FILE.exists()


def test_a_server_that_ends_meanwhile_is_no_error(server: subprocess.Popen[bytes]) -> None:
    with RunningServer() as running:
        server.kill()
        server.wait()
        running.terminate()
        assert running.ends_within(0)


def test_a_second_server_in_the_directory_says_who_keeps_the_file(server: subprocess.Popen[bytes]) -> None:
    """It took the file over, and removed it when it could not start: the first could not be stopped."""
    with pytest.raises(ConfigError, match=f"^--pid: the server with the process id {server.pid} keeps /.*"):
        pid_file().__enter__()
    assert PID_FILE.read_text() == str(server.pid)
    assert run(["stop", "-s"]) == 0


def test_a_pid_file_that_is_a_link_stays_a_link(tmp_path: Path) -> None:
    """Point 4: the link was removed in the end, and the number stayed where it led to."""
    target = tmp_path / "run.pid"
    PID_FILE.symlink_to(target)
    for _ in range(2):
        with pid_file():
            assert target.read_text() == str(os.getpid())
        assert PID_FILE.is_symlink() and not target.exists()


def test_of_servers_that_start_at_once_one_gets_the_file() -> None:
    """Also while the one before removes its own."""
    racing = """
from rr_py_ws.cli.pid_file import PID_FILE, pid_file
from rr_py_ws.errors import ConfigError
for _ in range(300):
    try:
        with pid_file():
            assert PID_FILE.stat().st_size > 0  # reading it here would give the lock back
    except ConfigError as error:
        assert "keeps" in str(error), error
"""
    racers = [subprocess.Popen([sys.executable, "-c", racing]) for _ in range(3)]
    assert [racer.wait() for racer in racers] == [0, 0, 0]


@pytest.mark.parametrize("content", ["precious", "1" * 5000])
def test_a_file_with_something_else_is_not_overwritten(content: str) -> None:
    PID_FILE.write_text(content)
    with pytest.raises(ConfigError, match="does not hold a process id; remove it"):
        pid_file().__enter__()
    assert PID_FILE.read_text() == content


def test_the_pid_file_is_there_meanwhile_only() -> None:
    with pid_file():
        assert PID_FILE.read_text() == str(os.getpid())
    assert not PID_FILE.exists()


def test_the_pid_file_is_removed_when_the_server_fails() -> None:
    with pytest.raises(ValueError, match="failed"), pid_file():
        raise ValueError("failed")
    assert not PID_FILE.exists()


@pytest.mark.parametrize("content", ["123456", "\udc80", None])
def test_the_pid_file_of_another_server_is_left_alone(content: str | None) -> None:
    with pid_file():
        PID_FILE.unlink()
        if content is not None:
            PID_FILE.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert PID_FILE.exists() == (content is not None)


def test_a_pid_file_that_cannot_be_written_is_a_config_error() -> None:
    PID_FILE.mkdir()
    with pytest.raises(ConfigError, match=r"^--pid: cannot write .*\.pid: Is a directory$"), pid_file():
        pass


@pytest.mark.parametrize("before", [b"", b"4711", b" 4711\n", None])
@pytest.mark.parametrize("fails", ["pwrite", "ftruncate", "half"])
def test_when_the_file_cannot_be_written_it_is_as_it_was_and_closed(
    before: bytes | None, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk was full: the file of a crashed server was empty then, and a descriptor stayed open."""
    if before is not None:
        PID_FILE.write_bytes(before)
    calls: list[str] = []

    def failing_once(name: str, real: Callable[..., int | None]) -> Callable[..., int | None]:
        def call(descriptor: int, *arguments: Any) -> int | None:
            calls.append(name)
            if name == fails and calls.count(name) == 1:
                raise OSError(28, "No space left on device")
            if fails == "half" and calls == ["pwrite"]:
                return real(descriptor, arguments[0][:1], *arguments[1:])
            return real(descriptor, *arguments)

        return call

    for name in ("pwrite", "ftruncate"):
        monkeypatch.setattr(os, name, failing_once(name, getattr(os, name)))
    open_files = descriptors()
    with pytest.raises(ConfigError, match=r"^--pid: cannot write .*\.pid: No space left on device$"):
        pid_file().__enter__()
    assert descriptors() == open_files
    assert (PID_FILE.read_bytes() if PID_FILE.exists() else None) == (before or None)
    with pid_file():  # and nobody keeps it
        assert PID_FILE.read_text() == str(os.getpid())
