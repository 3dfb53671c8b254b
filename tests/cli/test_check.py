"""`check`: the report itself is tested with the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from rr_py_ws.cli.entry import run
from support.program import Cli, one_error_line

GOOD = """
rpc: {listen: "tcp://127.0.0.1:6001"}
http: {address: "127.0.0.1:8080", middleware: [websockets]}
websockets: {broker: default, authorize: none}
broadcast: {default: {driver: memory, config: {}}}
"""


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_good_file_is_reported_with_exit_code_0(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text(GOOD)
    assert run(["check"]) == 0
    out, err = capfd.readouterr()
    assert "broker default" in out and err == ""


def test_a_file_the_server_would_not_start_with_is_exit_code_1(capfd: pytest.CaptureFixture[str]) -> None:
    Path("my.yaml").write_text(GOOD)
    assert run(["check", "-c", "my.yaml", "-o", "http.address="]) == 1
    capfd.readouterr()
    assert run(["check", "-c", "my.yaml", "-o", "websockets.authorize=php"]) == 1
    out, err = capfd.readouterr()
    assert "error" in out and err == ""


def test_a_file_that_cannot_be_read_is_one_error_line(capfd: pytest.CaptureFixture[str]) -> None:
    for content, text in (
        (None, ".rr.yaml"),
        ("a: [", ".rr.yaml"),
        ("rpc: {listen: 5}", "rpc.listen: found"),
    ):
        if content is not None:
            Path(".rr.yaml").write_text(content)
        assert run(["check"]) == 1
        out, err = capfd.readouterr()
        assert out == "" and text in one_error_line(err)


async def test_the_environment_counts(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "prod.env").write_text("RR_WEBSOCKETS_PATH=/from-dotenv\n")
    (tmp_path / ".rr.yaml").write_text(GOOD.replace("broker: default", "broker: default, path: /ws"))
    assert "/from-process" in (await cli("check", RR_WEBSOCKETS_PATH="/from-process")).out
    assert "/from-dotenv" in (await cli("check", "--dotenv", "prod.env")).out
