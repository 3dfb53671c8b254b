"""`docs/operations.md` against the program."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rr_py_ws.cli.entry import program, run
from rr_py_ws.cli.flags import Flags

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
DOCUMENTED = re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)
EXAMPLES = [
    line
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


def test_every_command_is_documented() -> None:
    assert sorted(DOCUMENTED) == sorted(program.commands)


@pytest.mark.parametrize("command", DOCUMENTED)
def test_every_documented_command_has_help_and_an_example(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    assert f"Usage: rr-py-ws {command}" in capfd.readouterr().out
    assert any(line.startswith(f"rr-py-ws {command}") for line in EXAMPLES)


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_is_a_command_line_that_parses(line: str) -> None:
    name, command, *args = shlex.split(line.split(" | ")[0], comments=True)
    assert name == "rr-py-ws"
    program.commands[command].make_context(command, args, obj=Flags())


def test_every_global_flag_is_documented_and_every_documented_one_exists() -> None:
    documented = set(re.findall(r"^\| (?:`-\w`, )?`(--\w+)", PAGE, re.MULTILINE))
    help_option = program.get_help_option(program.make_context("rr-py-ws", [], resilient_parsing=True))
    assert help_option is not None
    flags = {name for param in (*program.params, help_option) for name in param.opts if name.startswith("--")}
    assert documented == flags


@pytest.mark.parametrize("command", DOCUMENTED)
def test_every_flag_of_a_command_is_documented(command: str) -> None:
    section = PAGE.split(f"### `{command}`")[1].split("\n### ")[0]
    for param in program.commands[command].own_params:
        assert param.param_type_name == "argument" or any(name in section for name in param.opts)
