"""Modes, encodings, levels, channels, outputs, limits and safety of the log."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import pty
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws import logs
from rr_py_ws.config import Channel, FileLoggerOptions, Logs
from rr_py_ws.errors import ConfigError
from rr_py_ws.logs import loggers
from rr_py_ws.logs.outputs import RotatingFileOutput, StreamOutput
from rr_py_ws.logs.render import FULL, Renderer

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


@pytest.fixture(autouse=True)
def _back_to_defaults() -> Iterator[None]:
    yield
    logs.shutdown()


def render(mode: str, json: bool, message: object = "joined", **fields: object) -> str:
    renderer = Renderer("websockets", mode, json, clock=lambda: 1714557630.25)
    return renderer(None, "warning", {"event": message, **fields}).decode()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def to_file(path: Path, **options: Any) -> Logs:
    return Logs(mode="production", level="debug", encoding="json", output=(str(path),), **options)


# What a line looks like


def test_production_json_has_level_time_logger_message_and_fields() -> None:
    assert render("production", True, topics=2, took=0.5) == (
        '{"level":"warn","ts":1714557630.25,"logger":"websockets","msg":"joined","topics":2,"took":0.5}\n'
    )


def test_development_console_has_tabs_between_time_level_padded_name_message_and_fields() -> None:
    when, level, name, message, fields = render("development", False, topics=2, user="ann").split("\t")
    assert re.fullmatch(r"2024-05-01T\d\d:\d\d:30\.250(Z|[+-]\d{4})", when)
    assert (level, name, message) == ("WARN", "websockets  ", "joined")
    assert fields == '{"topics": 2, "user": "ann"}\n'


def test_a_console_line_without_fields_ends_with_the_message() -> None:
    assert render("development", False).endswith("\tjoined\n")


def test_raw_has_message_and_fields_only() -> None:
    assert render("raw", False, pid=7) == 'joined\t{"pid": 7}\n'
    assert render("raw", True, pid=7) == '{"message":"joined","pid":7}\n'


def test_development_json_and_production_console_keep_the_looks_of_their_mode() -> None:
    record = json.loads(render("development", True))
    assert record["level"] == "WARN" and record["ts"].startswith("2024-05-01T")
    assert render("production", False) == "1714557630.25\twarn\twebsockets\tjoined\n"


def test_line_ending_is_configurable() -> None:
    assert Renderer("rpc", "raw", False, line_ending="\r\n")(None, "info", {"event": "x"}) == b"x\r\n"


def test_colours_mark_level_and_name_only() -> None:
    line = Renderer("rpc", "development", False, colour=True)(None, "error", {"event": "x"}).decode()
    assert "\t\x1b[91mERROR\x1b[0m\t\x1b[92mrpc         \x1b[0m\tx\n" in line


@pytest.mark.parametrize("json_form", [True, False])
def test_a_field_never_replaces_the_parts_of_the_line(json_form: bool) -> None:
    line = render("production", json_form, level="debug", msg="forged", logger="root", ts=0)
    if json_form:
        record = json.loads(line)
        assert (record["level"], record["msg"], record["logger"]) == ("warn", "joined", "websockets")
        assert (record["level_"], record["msg_"], record["ts_"]) == ("debug", "forged", 0)
    else:
        assert line.startswith("1714557630.25\twarn\twebsockets\tjoined\t")


# Values


class _Broken:
    def __str__(self) -> str:
        raise RuntimeError


def test_any_value_becomes_json() -> None:
    record = json.loads(
        render(
            "production",
            True,
            none=None,
            yes=True,
            big=2**70,
            huge=10**5000,
            infinite=float("inf"),
            data=b"ok\xff",
            error=KeyError(),
            broken=_Broken(),
            path=Path("a"),
            deep=[[[[[[[1]]]]]]],
            map={1: {"x": (1, 2)}},
        )
    )
    assert record["none"] is None and record["yes"] is True
    assert record["big"] == str(2**70) and record["huge"] == "int" and record["infinite"] == "inf"
    assert record["data"] == "ok\\xff" and record["error"] == "KeyError" and record["broken"] == "_Broken"
    assert record["path"] == "a" and record["map"] == {"1": {"x": [1, 2]}}
    assert record["deep"] == [[[[["[[1]]"]]]]]


def test_long_values_are_cut_and_say_so() -> None:
    record = json.loads(render("production", True, "m" * (FULL.text + 5), topics=["t"] * (FULL.items + 3)))
    assert json.loads(render("raw", True, map=dict.fromkeys(range(200))))["map"]["..."] == "100 more"
    assert record["msg"].endswith("m... (5 more characters)")
    assert len(record["topics"]) == FULL.items + 1 and record["topics"][-1] == "... (3 more)"
    assert len(render("production", True, data=b"\xff" * 10**6)) < 3 * FULL.text


UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("mode", ["development", "production", "raw"])
@given(text=st.text() | st.text(st.characters(max_codepoint=0xA0)) | st.binary(), key=st.text())
def test_no_value_breaks_a_line_or_reaches_the_terminal(mode: str, text: str | bytes, key: str) -> None:
    """A peer cannot forge a second log line, nor send escape sequences to whoever reads the log."""
    for json_form in (True, False):
        line = render(mode, json_form, text, field=text, list=[text], map={key: text})
        assert line.endswith("\n")
        assert not UNSAFE.search(line[:-1])
        if json_form and isinstance(text, str) and len(text) < FULL.text:
            assert "\t" not in line
            assert json.loads(line)["field"] == text


def test_control_characters_are_shown_as_escapes_on_the_console() -> None:
    line = render("raw", False, "a\r\nb\x1b[31m\x9b\u202ec", value="x\n\x1b]0;title\x07")
    assert line == 'a\\r\\nb\\x1b[31m\\x9b\\u202ec\t{"value": "x\\n\\u001b]0;title\\u0007"}\n'


def test_an_exception_is_one_field_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs.setup(to_file(path))
    try:
        raise ValueError("bad\nvalue")
    except ValueError as error:
        logs.get_logger("app").error("failed", error=error, exc_info=True)
    [record] = lines(path)
    assert record["error"] == "bad\nvalue"
    assert record["exception"].startswith("Traceback") and "exc_info" not in record


# Levels, channels, modes


@pytest.mark.parametrize("level", PERMITTED)
def test_level_permits_itself_and_what_is_worse(level: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs.setup(to_file(path).model_copy(update={"level": level}))
    for get in (logs.get_logger, logs.get_limited):
        for method in LEVELS:
            getattr(get("rpc"), method)(method)
    assert tuple(record["msg"] for record in lines(path)) == 2 * PERMITTED[level]


@pytest.mark.parametrize("mode", ["none", "off"])
def test_none_and_off_discard_everything(
    mode: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    logs.setup(Logs(mode=mode, output=(str(path), "stderr")))
    logs.get_logger("app").error("x")
    assert not path.exists()
    assert capfd.readouterr() == ("", "")


def test_a_channel_has_its_own_settings_and_the_others_the_main_ones(tmp_path: Path) -> None:
    main, own = tmp_path / "main", tmp_path / "own"
    early = logs.get_logger("websockets")
    channel = Channel(mode="raw", level="error", encoding="console", output=(str(own),))
    logs.setup(to_file(main, channels={"websockets": channel, "rpc": Channel(mode="off")}))
    for log in (early, logs.get_logger("broadcast"), logs.get_logger("rpc")):
        log.info("quiet")
        log.error("loud")
    assert own.read_text() == "loud\n"
    assert [(record["logger"], record["msg"]) for record in lines(main)] == [
        ("broadcast", "quiet"),
        ("broadcast", "loud"),
    ]


def test_a_logger_is_one_object_per_channel_before_and_after_setup(tmp_path: Path) -> None:
    before = logs.get_logger("app"), logs.get_limited("app")
    logs.setup(to_file(tmp_path / "log"))
    assert (logs.get_logger("app"), logs.get_limited("app")) == before


def test_without_setup_warnings_and_errors_go_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    log = logs.get_logger("app")
    log.info("unseen")
    log.warning("seen", a=1)
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and err.endswith('WARN\tapp         \tseen\t{"a": 1}\n')


def test_shutdown_goes_back_to_the_defaults(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    logs.setup(to_file(path))
    logs.shutdown()
    logs.get_logger("app").error("afterwards")
    assert path.read_text() == "" and "afterwards" in capfd.readouterr().err


# Outputs


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_standard_streams(stream: str, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup(Logs(mode="raw", output=(stream,)))
    logs.get_logger("app").info("hello")
    assert getattr(capfd.readouterr(), stream[3:]) == "hello\n"


def test_a_file_is_appended_to_and_every_output_of_a_list_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("from before\n")
    logs.setup(Logs(mode="raw", output=(str(first), "stdout", str(second))))
    logs.get_logger("app").info("hello")
    assert first.read_text() == "from before\nhello\n"
    assert second.read_text() == "hello\n" and capfd.readouterr().out == "hello\n"


def test_a_file_that_cannot_be_opened_is_a_config_error_and_changes_nothing(tmp_path: Path) -> None:
    good, other = tmp_path / "good", tmp_path / "other"
    logs.setup(to_file(good))
    with pytest.raises(ConfigError, match=r"logs: cannot open the log file '.*missing/log': No such file"):
        logs.setup(Logs(output=(str(other), str(tmp_path / "missing/log"))))
    logs.get_logger("app").info("still here")
    assert [record["msg"] for record in lines(good)] == ["still here"]


def test_colour_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal, os.fdopen(leader, "rb"):
        monkeypatch.setattr(sys, "stderr", terminal)
        assert StreamOutput("stderr").terminal
        monkeypatch.setenv("NO_COLOR", "1")
        assert not StreamOutput("stderr").terminal
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.delenv("NO_COLOR")
    assert not StreamOutput("stderr").terminal


def test_a_broken_pipe_loses_lines_but_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stderr", stream)
    StreamOutput("stderr").write(b"lost\n")
    monkeypatch.setattr(sys, "stderr", None)
    StreamOutput("stderr").write(b"lost too\n")
    with pytest.raises(BrokenPipeError):
        stream.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_once_on_the_error_output(tmp_path: Path) -> None:
    """The server goes on; whoever looks at the error output learns why the log is silent."""
    trouble = tmp_path / "trouble"
    logs.setup(Logs(output=("/dev/full",), error_output=(str(trouble),)))
    for _ in range(3):
        logs.get_logger("app").error("lost")
    assert trouble.read_text().count("\n") == 1
    assert trouble.read_text().startswith("cannot write the log file '/dev/full': ")


# Rotation


class Clock:
    now = 1_714_557_630.0

    def __call__(self) -> float:
        return self.now


def rotating(path: Path, clock: Clock, **options: Any) -> RotatingFileOutput:
    defaults: dict[str, Any] = {"max_size": 10, "max_age": 1, "max_backups": 3, "compress": False}
    return RotatingFileOutput(path, StreamOutput("stderr"), clock=clock, **defaults | options)


def test_a_full_file_is_set_aside_under_the_time_and_no_line_is_split(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    output = rotating(path, Clock())
    for line in (b"12345\n", b"123\n", b"next\n", b"far too long for it\n"):
        output.write(line)
    output.close()
    assert path.read_text() == "far too long for it\n"
    assert (tmp_path / "app-2024-05-01T10-00-30.000.log").read_text() == "12345\n123\n"
    assert (tmp_path / "app-2024-05-01T10-00-30.001.log").read_text() == "next\n"
    assert len(list(tmp_path.iterdir())) == 3


def test_the_size_of_a_file_from_before_counts(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("123456\n")
    output = rotating(path, Clock())
    output.write(b"7890\n")
    output.close()
    assert path.read_text() == "7890\n"


def test_old_files_are_compressed_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    path, clock = tmp_path / "app.log", Clock()
    stranger = tmp_path / "app-notes.log"
    stranger.write_text("not ours")
    for number in range(6):
        output = rotating(path, clock, compress=True)
        output.write(b"%09d\n" % number)
        output.close()
        clock.now += 60
    backups = sorted(file for file in tmp_path.iterdir() if file not in (path, stranger))
    assert [gzip.decompress(file.read_bytes()) for file in backups] == [b"%09d\n" % n for n in (2, 3, 4)]
    assert path.read_bytes() == b"%09d\n" % 5 and stranger.exists()


def test_files_older_than_max_age_are_removed(tmp_path: Path) -> None:
    path, clock = tmp_path / "app.log", Clock()
    for days in (0, 0.5, 1.2):
        clock.now = Clock.now + days * 86400
        output = rotating(path, clock)
        output.write(b"123456789\n")
        output.close()
    clock.now = Clock.now + 1.6 * 86400
    output = rotating(path, clock)
    output.write(b"123456789\n")
    output.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "app-2024-05-02T14-48-30.000.log",
        "app-2024-05-03T00-24-30.000.log",
        "app.log",
    ]


def test_a_file_that_cannot_be_set_aside_is_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "app.log"
    output = rotating(path, Clock())
    output.write(b"123456\n")
    monkeypatch.setattr(Path, "rename", refuse)
    output.write(b"7890\n")
    output.close()
    assert path.read_text() == "123456\n7890\n"
    assert "cannot rotate the log file" in capfd.readouterr().err


def test_file_logger_options_replace_output_and_write_json(tmp_path: Path) -> None:
    path, unused = tmp_path / "logs" / "app.log", tmp_path / "unused"
    logs.setup(
        Logs(output=(str(unused),), file_logger_options=FileLoggerOptions(log_output=str(path), max_size=1))
    )
    log = logs.get_logger("app")
    for _ in range(70):
        log.info("x" * FULL.text)
    assert not unused.exists()
    logs.shutdown()
    backups = [file for file in path.parent.iterdir() if file != path]
    assert len(backups) == 1 and 1_000_000 < backups[0].stat().st_size <= 1024 * 1024
    assert lines(path)[0]["logger"] == "app"


# Limits


def test_the_same_event_is_written_ten_times_in_ten_seconds() -> None:
    clock = Clock()
    limiter = logs.Limiter(clock)
    assert [limiter.admit("refused") for _ in range(15)] == [0] * 10 + [None] * 5
    assert limiter.admit("another") == 0
    clock.now += 9.9
    assert limiter.admit("refused") is None
    clock.now += 0.1
    assert limiter.admit("refused") == 6
    assert limiter.admit("refused") == 0


def test_any_number_of_different_events_takes_bounded_memory_and_is_limited() -> None:
    clock = Clock()
    limiter = logs.Limiter(clock)
    admitted = [limiter.admit(f"event {number}") for number in range(10_000)]
    assert sum(answer is not None for answer in admitted) == 256 + 10
    clock.now += 10
    assert limiter.admit("event 9999") == 0


def test_a_limited_logger_writes_the_number_of_suppressed_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = tmp_path / "log", Clock()
    log = logs.get_limited("a channel of this test")
    monkeypatch.setattr(loggers._limited["a channel of this test"][1], "_clock", clock)
    logs.setup(to_file(path))
    for number in range(12):
        log.warning("bad command", number=number)
    clock.now += 10
    log.warning("bad command", number=12)
    records = lines(path)
    assert [record["number"] for record in records] == [*range(10), 12]
    assert records[-1]["suppressed"] == 2 and "suppressed" not in records[0]


def test_a_limited_logger_cuts_what_a_peer_may_have_made_long(tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs.setup(to_file(path))
    logs.get_limited("one more channel").warning("bad", data=b"x" * 10_000, topics=["t" * 10_000] * 1000)
    [record] = lines(path)
    assert record["data"] == "x" * 512 + "... (9488 more characters)"
    assert len(record["topics"]) == 11 and path.stat().st_size < 8000


def test_events_below_the_level_do_not_use_up_the_allowance(tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs.setup(to_file(path).model_copy(update={"level": "info"}))
    log = logs.get_limited("another channel of this test")
    for _ in range(50):
        log.debug("event")
    log.info("event")
    assert len(lines(path)) == 1


# The standard library's logging


def test_what_libraries_report_goes_to_the_channel_app(tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs.setup(to_file(path))
    try:
        raise OSError("boom")
    except OSError:
        logging.getLogger("asyncio").exception("Task exception was %s", "never\nretrieved")
    logging.getLogger("websockets").warning("odd")
    logging.getLogger("websockets").info("unseen")
    wrong = logging.LogRecord("bad", logging.WARNING, __file__, 1, "%d", ("no number",), None)
    loggers._BRIDGE.handle(wrong)  # pytest's own handler would not forgive the format
    first, second, third = lines(path)
    assert (first["logger"], first["level"], first["source"]) == ("app", "error", "asyncio")
    assert first["msg"] == "Task exception was never\nretrieved" and "OSError: boom" in first["exception"]
    assert (second["level"], second["msg"], second["source"]) == ("warn", "odd", "websockets")
    assert third["msg"] == "%d"
