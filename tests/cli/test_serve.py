"""What `serve` does around the server; the server itself has its end-to-end tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import rr_py_ws.server
from rr_py_ws import logs
from rr_py_ws.cli.entry import run
from rr_py_ws.config import Config
from rr_py_ws.server.preparation import Preparation
from support.program import one_error_line

FILE = """
http: {address: "127.0.0.1:0", middleware: [websockets]}
websockets: {broker: default, authorize: none}
broadcast: {default: {driver: memory, config: {}}}
logs: {mode: raw, level: warn, output: main.log, channels: {rpc: {mode: raw, level: error, output: rpc.log}}}
"""


@dataclass
class Serving:
    """Stands for the server: does something while it "runs", and ends with an exit code."""

    work: Callable[[], object] = lambda: None
    code: int = 0
    calls: list[tuple[Config, bool, bool]] = field(default_factory=list)
    read_again: Callable[[], Config] | None = None

    def run(
        self,
        config: Config,
        prepared: Preparation,
        read_again: Callable[[], Config],
        *,
        silent: bool,
        debug: bool,
    ) -> int:
        self.calls.append((config, silent, debug))
        self.read_again = read_again
        self.work()
        return self.code


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serving:
    monkeypatch.chdir(tmp_path)
    Path(".rr.yaml").write_text(FILE)
    serving = Serving()
    monkeypatch.setattr(rr_py_ws.server, "run", serving, raising=False)
    return serving


@pytest.mark.parametrize("code", [0, 1])
def test_the_exit_code_is_that_of_the_server(code: int, serving: Serving) -> None:
    serving.code = code
    assert run(["serve"]) == code
    [(config, silent, debug)] = serving.calls
    assert (config.path, silent, debug) == (Path(".rr.yaml").absolute(), False, False)


def test_silent_and_debug_are_handed_over(serving: Serving) -> None:
    assert run(["serve", "-s", "-d"]) == 0
    assert serving.calls[0][1:] == (True, True)


@pytest.mark.parametrize("debug", [False, True])
def test_logs_are_set_up_and_debug_means_level_debug_in_every_channel(debug: bool, serving: Serving) -> None:
    def work() -> None:
        for channel in ("app", "rpc"):
            logs.get_logger(channel).debug("said at debug")
            logs.get_logger(channel).error("said at error")

    serving.work = work
    assert run(["serve", *(["-d"] if debug else [])]) == 0
    expected = "said at debug\nsaid at error\n" if debug else "said at error\n"
    assert Path("main.log").read_text() == Path("rpc.log").read_text() == expected


def test_the_pid_file_is_there_while_the_server_runs(serving: Serving) -> None:
    found = []
    serving.work = lambda: found.append(Path(".pid").read_text())
    assert run(["serve", "-p"]) == 0
    assert found == [str(os.getpid())] and not Path(".pid").exists()


def test_there_is_no_pid_file_unless_asked_for(serving: Serving) -> None:
    serving.work = lambda: Path(".pid").exists() and pytest.fail("there is one")
    assert run(["serve"]) == 0


def test_a_failure_of_the_server_is_one_line_and_leaves_no_pid_file(
    serving: Serving, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("unforeseen")

    serving.work = fail
    assert run(["serve", "-p"]) == 1
    assert one_error_line(capfd.readouterr().err).startswith("unexpected RuntimeError: unforeseen")
    assert not Path(".pid").exists()


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("websockets.authorize=php", "server"),
        ("logs.output=missing/dir/log", "logs: cannot open the log file 'missing/dir/log': No such file"),
        ("http.address=nonsense", "http.address: found"),
    ],
)
def test_a_configuration_that_cannot_be_served_ends_it_before_anything_starts(
    override: str, text: str, serving: Serving, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", "-p", "-o", override]) == 1
    assert text in one_error_line(capfd.readouterr().err)
    assert serving.calls == [] and not Path(".pid").exists()


def test_the_file_is_read_again_with_the_flags_of_the_start(serving: Serving, tmp_path: Path) -> None:
    """For SIGHUP: the working directory was changed already, and -d and -o still count."""
    directory = tmp_path / "app"
    directory.mkdir()
    Path(".rr.yaml").rename(directory / "other.yaml")
    flags = ["-w", "app", "-c", "other.yaml", "-d", "-o", "websockets.path=/live"]
    assert run(["serve", *flags]) == 0
    assert serving.read_again is not None
    (config, _, _), again = serving.calls[0], serving.read_again()
    assert again == config
    assert (again.settings.path, again.logs.level, again.directory) == ("/live", "debug", directory)
    (directory / "other.yaml").write_text(FILE.replace("level: error", "level: info"))
    assert serving.read_again().logs == config.logs  # -d says debug, whatever the file has
