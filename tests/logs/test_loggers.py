"""Levels, channels, modes, limits, and the records of libraries."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from logs.conftest import Clock, lines, setup, to_file
from rr_py_ws import logs
from rr_py_ws.config import Channel, Logs
from rr_py_ws.logs import loggers

LEVELS = ("debug", "info", "warning", "error")
PERMITTED = {
    "debug": LEVELS,
    "info": LEVELS[1:],
    "warn": LEVELS[2:],
    "error": LEVELS[3:],
    "dpanic": (),
    "panic": (),
    "fatal": (),
}


@pytest.mark.parametrize("level", PERMITTED)
def test_level_permits_itself_and_what_is_worse(level: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    setup(to_file(path).model_copy(update={"level": level}))
    for get in (logs.get_logger, logs.get_limited):
        for method in LEVELS:
            getattr(get("rpc"), method)(method)
    assert tuple(record["msg"] for record in lines(path)) == 2 * PERMITTED[level]


@pytest.mark.parametrize("mode", ["none", "off"])
def test_none_and_off_discard_everything(
    mode: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    setup(Logs(mode=mode, output=(str(path), "stderr")))
    logs.get_logger("app").error("x")
    assert not path.exists()
    assert capfd.readouterr() == ("", "")


def test_a_channel_has_its_own_settings_and_the_others_the_main_ones(tmp_path: Path) -> None:
    main, own = tmp_path / "main", tmp_path / "own"
    early = logs.get_logger("websockets")
    channel = Channel(mode="raw", level="error", encoding="console", output=(str(own),))
    setup(to_file(main, channels={"websockets": channel, "rpc": Channel(mode="off")}))
    for log in (early, logs.get_logger("broadcast"), logs.get_logger("rpc")):
        log.info("quiet")
        log.error("loud")
    logs.shutdown()
    assert own.read_text() == "loud\n"
    assert [(record["logger"], record["msg"]) for record in lines(main)] == [
        ("broadcast", "quiet"),
        ("broadcast", "loud"),
    ]


def test_a_logger_is_one_object_per_channel_before_and_after_setup(tmp_path: Path) -> None:
    before = logs.get_logger("app"), logs.get_limited("app")
    setup(to_file(tmp_path / "log"))
    assert (logs.get_logger("app"), logs.get_limited("app")) == before


def test_without_setup_warnings_and_errors_go_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    log = logs.get_logger("app")
    log.info("unseen")
    log.warning("seen", a=1)
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and err.endswith('WARN\tapp         \tseen\t{"a": 1}\n')


def test_shutdown_goes_back_to_the_defaults(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    setup(to_file(path))
    logs.shutdown()
    logs.get_logger("app").error("afterwards")
    assert path.read_text() == "" and "afterwards" in capfd.readouterr().err


def test_an_exception_is_one_field_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    setup(to_file(path))
    try:
        raise ValueError("bad\nvalue")
    except ValueError as error:
        logs.get_logger("app").error("failed", error=error, exc_info=True)
    [record] = lines(path)
    assert record["error"] == "bad\nvalue"
    assert record["exception"].startswith("Traceback") and "exc_info" not in record


# Limits


def test_a_limited_logger_writes_the_number_of_suppressed_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = tmp_path / "log", Clock()
    log = logs.get_limited("a channel of this test")
    monkeypatch.setattr(log._limiter, "_clock", clock)
    setup(to_file(path))
    for number in range(12):
        log.warning("bad command", number=number)
    clock.now += 10
    log.warning("bad command", number=12)
    records = lines(path)
    assert [record["number"] for record in records] == [*range(10), 12]
    assert records[-1]["suppressed"] == 2 and "suppressed" not in records[0]


def test_a_limited_logger_cuts_what_a_peer_may_have_made_long(tmp_path: Path) -> None:
    path = tmp_path / "log"
    setup(to_file(path))
    logs.get_limited("one more channel").warning("bad", data=b"x" * 10_000, topics=["t" * 10_000] * 1000)
    [record] = lines(path)
    assert record["data"] == "x" * 512 + "... (10000 bytes in all)"
    assert len(record["topics"]) == 11 and path.stat().st_size < 8000


def test_events_below_the_level_do_not_use_up_the_allowance(tmp_path: Path) -> None:
    path = tmp_path / "log"
    setup(to_file(path).model_copy(update={"level": "info"}))
    log = logs.get_limited("another channel of this test")
    for _ in range(50):
        log.debug("event")
    log.info("event")
    assert len(lines(path)) == 1


# Records of libraries


def test_what_libraries_report_goes_to_the_channel_app(tmp_path: Path) -> None:
    path = tmp_path / "log"
    setup(to_file(path))
    try:
        raise OSError("boom")
    except OSError:
        logging.getLogger("asyncio").exception("Task exception was %s", "never\nretrieved")
    logging.getLogger("websockets").warning("odd")
    logging.getLogger("websockets").info("unseen")
    wrong = logging.LogRecord("bad", logging.WARNING, __file__, 1, "%d", ("no number",), None)
    loggers._LIBRARIES.handle(wrong)  # pytest's own handler would not forgive the format
    first, second, third = lines(path)
    assert (first["logger"], first["level"], first["source"]) == ("app", "error", "asyncio")
    assert first["msg"] == "Task exception was never\nretrieved" and "OSError: boom" in first["exception"]
    assert (second["level"], second["msg"], second["source"]) == ("warn", "odd", "websockets")
    assert third["msg"] == "%d"
