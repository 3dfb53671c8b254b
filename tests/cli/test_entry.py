"""Flags, help, exit codes: what every command has in common."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from rr_py_ws import __version__, config
from rr_py_ws.cli import main
from rr_py_ws.cli.entry import program, run
from rr_py_ws.cli.flags import Command, Flags
from support.program import one_error_line

COMMANDS = sorted(program.commands)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Flags]:
    """The flags of each run, which ends where the configuration would be loaded."""
    seen: list[Flags] = []

    def stop(flags: Flags) -> None:
        seen.append(flags)
        raise click.exceptions.Exit(0)

    monkeypatch.setattr(Flags, "read_config", stop)
    return seen


def test_without_a_command_help_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("Usage: rr-py-ws") and err == ""


@pytest.mark.parametrize("args", [["-h"], ["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_has_examples_and_the_global_flags(args: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(args) == 0
    out, err = capfd.readouterr()
    assert err == "" and "\nExamples:\n  rr-py-ws " in out and "\nGlobal flags:\n" in out
    for flag in ("-c, --config", "-w, --WorkDir", "-o, --override", "-d, --debug", "-s, --silent"):
        assert flag in out
    for flag in ("-p, --pid", "--dotenv", "-f, --force", "-v, --version", "-h, --help"):
        assert flag in out


@pytest.mark.parametrize("command", [program, *program.commands.values()])
def test_examples_in_the_help_are_command_lines_that_parse(command: Command) -> None:
    assert command.examples
    for example in command.examples:
        name, subcommand, *args = shlex.split(example.split(" | ")[0], comments=True)
        assert name == "rr-py-ws"
        program.commands[subcommand].make_context(subcommand, args, obj=Flags())


@pytest.mark.parametrize("args", [["-v"], ["--version"], ["version"], ["serve", "-v"], ["version", "-d"]])
def test_version(args: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(args) == 0
    assert capfd.readouterr().out.startswith(f"rr-py-ws version {__version__}")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["nonsense"], "No such command 'nonsense'."),
        (["--nonsense"], "No such option"),
        (["serve", "--nonsense"], "No such option"),
        (["serve", "surplus"], "Got unexpected extra argument (surplus)"),
        (["-c"], "Option '-c' requires an argument."),
        (["publish", "topic"], "Missing argument 'PAYLOAD...'."),
        (["publish", "t\udcff", "x"], "Invalid value for 'TOPIC': not UTF-8"),
        (["listen"], "Missing argument 'TOPIC...'."),
        (
            ["listen", "x", "--header", "nonsense"],
            "Invalid value for '--header': 'nonsense' is not NAME:VALUE",
        ),
        (["listen", "x", "--header", "a b: c"], "Invalid value for '--header': 'a b: c' is not NAME:VALUE"),
        (
            ["listen", "x", "--header", "a:b\rc:d"],
            r"Invalid value for '--header': 'a:b\rc:d' has a control character",
        ),
    ],
)
def test_a_wrong_command_line_is_one_error_line_and_exit_code_1(
    args: list[str], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 1
    out, err = capfd.readouterr()
    assert out == "" and one_error_line(err).startswith(text)


@pytest.mark.parametrize(
    "args",
    [
        "-c a.yaml -w dir --dotenv env -d -s -p -f -o a=1 -o b=2 check",
        "check -c a.yaml -w dir --dotenv env -d -s -p -f -o a=1 -o b=2",
        "--config a.yaml --WorkDir=dir -o a=1 --debug check --override b=2 --dotenv=env -spf",
        "-c lost.yaml -w lost --dotenv lost -ds -o a=1 check -c a.yaml -w dir --dotenv env -pf -o b=2",
    ],
)
def test_global_flags_mean_the_same_before_and_after_the_command(args: str, parsed: list[Flags]) -> None:
    assert run(args.split()) == 0
    [flags] = parsed
    assert flags == Flags("a.yaml", "dir", "env", ["a=1", "b=2"], True, True, True, True)


def test_flags_have_the_defaults_of_roadrunner(parsed: list[Flags]) -> None:
    assert run(["check"]) == 0
    assert parsed == [Flags(".rr.yaml", "", "", [], False, False, False, False)]


def test_an_unexpected_failure_is_one_line_and_its_details_come_with_the_debug_flag(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("broken\nthing")

    monkeypatch.setattr(config, "resolve_workdir", fail)
    assert run(["check"]) == 1
    text = one_error_line(capfd.readouterr().err)
    assert text == r"unexpected KeyError: 'broken\nthing'; run it again with -d for the details"
    assert run(["check", "-d"]) == 1
    err = capfd.readouterr().err
    assert err.startswith("Traceback") and err.endswith(r"error: unexpected KeyError: 'broken\nthing'" + "\n")


def test_an_interrupt_is_an_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "resolve_workdir", interrupt)
    assert run(["check"]) == 1
    assert one_error_line(capfd.readouterr().err) == "interrupted"


def test_text_of_others_cannot_play_with_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["x\x1b[2J\ny"]) == 1
    assert "\x1b" not in one_error_line(capfd.readouterr().err)


def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    """`rr-py-ws --help | head -1` ends without a complaint."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "rr_py_ws", "--help"], stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_short_commands_load_no_heavy_library() -> None:
    """`version` and `--help` answer at once: what takes long to import waits until it is needed."""
    heavy = ("pydantic", "ruamel", "structlog", "websockets", "uvloop", "rich", "google.protobuf", "orjson")
    code = (
        "import sys; from rr_py_ws.cli.entry import run; run(['--help']); run(['version']);"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_console_script_and_the_module_are_the_same_program() -> None:
    script = str(Path(sys.executable).with_name("rr-py-ws"))
    first, second = (
        subprocess.run([*command, "version"], capture_output=True, check=True)
        for command in ([script], [sys.executable, "-m", "rr_py_ws"])
    )
    assert first.stdout == second.stdout != b""


@pytest.mark.parametrize(("debug", "shown"), [(False, 0), (True, 1)])
def test_tracebacks_of_callbacks_are_for_the_debug_flag(debug: bool, shown: int) -> None:
    """asyncio reports what fails in a callback by `logging`, as a traceback."""
    code = """
import asyncio, sys
from rr_py_ws.cli.console import run
from rr_py_ws.cli.flags import Flags

async def work():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)

run(Flags(debug=sys.argv[1] == "True"), work())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(debug)], capture_output=True, text=True, check=True
    )
    assert done.stderr.count("ZeroDivisionError") == shown and bool(done.stderr) == debug


@pytest.mark.parametrize("handler", [None, signal.SIG_IGN, signal.SIG_DFL, print])
def test_a_handler_of_ctrl_c_that_is_not_pythons_stays(
    handler: object, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """None is one that Python does not know, and cannot put back: that was a traceback."""
    monkeypatch.setattr(signal, "getsignal", lambda _: handler)
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("changed"))
    monkeypatch.setattr(sys, "argv", ["rr-py-ws", "version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


def test_ctrl_c_while_the_program_is_loaded_leaves_no_traceback() -> None:
    """It came from the middle of an import."""
    program = """
import os, signal, sys
class Impatient:
    def find_spec(self, name, *_):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
sys.meta_path.insert(0, Impatient())
from rr_py_ws.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")
