"""Streams, files and their rotation."""

from __future__ import annotations

import gzip
import io
import json
import os
import pty
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from logs.conftest import Clock, lines, setup, to_file
from rr_py_ws import logs
from rr_py_ws.config import Channel, FileLoggerOptions, Logs, load_config
from rr_py_ws.errors import ConfigError
from rr_py_ws.logs.outputs import FileOutput, StreamOutput
from rr_py_ws.logs.render import FULL


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_standard_streams(stream: str, capfd: pytest.CaptureFixture[str]) -> None:
    setup(Logs(mode="raw", output=(stream,)))
    logs.get_logger("app").info("hello")
    logs.shutdown()
    assert getattr(capfd.readouterr(), stream[3:]) == "hello\n"


def test_a_file_is_appended_to_and_every_output_of_a_list_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("from before\n")
    setup(Logs(mode="raw", output=(str(first), "stdout", str(second))))
    logs.get_logger("app").info("hello")
    logs.shutdown()
    assert first.read_text() == "from before\nhello\n"
    assert second.read_text() == "hello\n" and capfd.readouterr().out == "hello\n"


def test_a_file_that_cannot_be_opened_is_a_config_error_and_changes_nothing(tmp_path: Path) -> None:
    good, other = tmp_path / "good", tmp_path / "other"
    setup(to_file(good))
    with pytest.raises(ConfigError, match=r"logs: cannot open the log file '.*missing/log': No such file"):
        setup(Logs(output=(str(other), str(tmp_path / "missing/log"))))
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


def test_a_broken_pipe_loses_lines_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stderr", stream)
    StreamOutput("stderr").write(["lost\n"])
    monkeypatch.setattr(sys, "stderr", None)
    StreamOutput("stderr").write(["lost too\n"])
    stream.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported_once_on_the_error_output(tmp_path: Path) -> None:
    """The server continues; the error output says why the log is silent."""
    trouble = tmp_path / "trouble"
    setup(Logs(output=("/dev/full",), error_output=(str(trouble),)))
    for _ in range(3):
        logs.get_logger("app").error("lost")
    logs.shutdown()
    assert trouble.read_text().count("\n") == 1
    assert trouble.read_text().startswith("cannot write the log file '/dev/full': ")


# Rotation


def rotating(path: Path, clock: Clock, **options: Any) -> FileOutput:
    """A file that is full at 10 bytes."""
    defaults: dict[str, Any] = {"max_size": 10, "max_age": 1, "max_backups": 3}
    return FileOutput(path, StreamOutput("stderr"), FileLoggerOptions(**defaults | options), clock)


def test_a_full_file_is_set_aside_under_the_time_and_no_line_is_split(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    output = rotating(path, Clock())
    for line in ("12345\n", "123\n", "next\n", "far too long for it\n"):
        output.write([line])
    output.close()
    assert path.read_text() == "far too long for it\n"
    assert (tmp_path / "app-2024-05-01T10-00-30.000.log").read_text() == "12345\n123\n"
    assert (tmp_path / "app-2024-05-01T10-00-30.001.log").read_text() == "next\n"
    assert len(list(tmp_path.iterdir())) == 3


def test_the_size_of_a_file_from_before_counts(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("123456\n")
    output = rotating(path, Clock())
    output.write(["7890\n"])
    output.close()
    assert path.read_text() == "7890\n"


def test_old_files_are_compressed_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    path, clock = tmp_path / "app.log", Clock()
    stranger = tmp_path / "app-notes.log"
    stranger.write_text("not ours")
    for number in range(6):
        output = rotating(path, clock, compress=True)
        output.write([f"{number:09d}\n"])
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
        output.write(["123456789\n"])
        output.close()
    clock.now = Clock.now + 1.6 * 86400
    output = rotating(path, clock)
    output.write(["123456789\n"])
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
    output.write(["123456\n"])
    monkeypatch.setattr(Path, "rename", refuse)
    output.write(["7890\n"])
    output.close()
    assert path.read_text() == "123456\n7890\n"
    assert "cannot rotate the log file" in capfd.readouterr().err


def test_the_size_is_counted_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    output = rotating(path, Clock())
    for line in ("üüü\n", "ab\n", "c\n"):
        output.write([line])
    output.close()
    assert path.read_text() == "c\n"


def test_a_file_that_cannot_be_set_aside_is_tried_again_when_it_has_grown_by_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A complaint for each line would fill the error output."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "rename", refuse)
    output = rotating(tmp_path / "app.log", Clock())
    for _ in range(8):
        output.write(["12345\n"])
    output.close()
    assert capfd.readouterr().err.count("cannot rotate") == 7
    output = rotating(tmp_path / "other.log", Clock())
    for _ in range(40):
        output.write(["\n"])
    output.close()
    assert capfd.readouterr().err.count("cannot rotate") == 3


def test_max_size_of_the_configuration_file_is_in_mebibytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the file to a rotated log: 70 lines of 16 KiB are more than 1 MiB, and less than 2."""
    monkeypatch.chdir(tmp_path)
    Path(".rr.yaml").write_text(
        """
        logs:
          mode: production
          output: unused
          file_logger_options: {log_output: logs/app.log, max_size: 1, compress: true}
        """
    )
    # A queue for all of the lines: none is dropped when the thread that writes them has to wait for a core.
    setup(load_config(".rr.yaml", environ={}).logs, max_queue=2 << 20)
    log = logs.get_logger("app")
    for number in range(70):
        log.info("x" * FULL[0], number=number)
    logs.shutdown()
    assert not Path("unused").exists()
    current = Path("logs/app.log")
    [rotated] = [file for file in Path("logs").iterdir() if file != current]
    assert re.fullmatch(r"app-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log\.gz", rotated.name)
    full = gzip.decompress(rotated.read_bytes())
    assert 1024 * 1024 - 17_000 < len(full) <= 1024 * 1024
    numbers = [
        json.loads(line)["number"] for line in [*full.splitlines(), *current.read_bytes().splitlines()]
    ]
    assert numbers == list(range(70))


def test_lines_of_a_rotated_file_are_json_whatever_the_mode_is(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    setup(Logs(file_logger_options=FileLoggerOptions(log_output=str(path))))
    logs.get_logger("app").info("hello")
    assert lines(path)[0]["logger"] == "app"


def test_without_a_name_the_file_is_in_the_directory_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    setup(Logs(file_logger_options=FileLoggerOptions()))
    logs.get_logger("app").info("hello")
    assert lines(tmp_path / "rr-py-ws.log")[0]["msg"] == "hello"


def test_a_file_of_two_channels_is_opened_once_and_each_channel_keeps_its_format(tmp_path: Path) -> None:
    """Two handlers of one file would set it aside under each other."""
    path = tmp_path / "app.log"
    options = FileLoggerOptions(log_output=str(path), max_size=1000)
    raw = Channel(mode="raw", level="debug", file_logger_options=options)
    setup(to_file(tmp_path / "x", file_logger_options=options, channels={"rpc": raw}))
    for _ in range(2):
        logs.get_logger("app").info("m" * 250)
        logs.get_logger("rpc").info("r" * 250)
    logs.shutdown()
    [backup] = [file for file in tmp_path.iterdir() if file != path]
    assert [line.get("msg", line.get("message"))[0] for line in lines(backup)] == ["m", "r", "m"]
    assert [set(line) for line in lines(path)] == [{"message"}]


def test_of_several_processes_one_rotates_a_file_and_the_others_go_on_in_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    options = FileLoggerOptions(log_output=str(path), max_size=100)
    rotating = FileOutput(path, StreamOutput("stderr"), options, shared=True)
    other = FileOutput(path, StreamOutput("stderr"), options, shared=True, rotates=False)
    for _ in range(5):
        other.write(["x" * 49 + "\n"])  # over the limit, and nobody sets it aside
    assert [file.name for file in tmp_path.iterdir()] == ["app.log"]
    rotating.write(["of the core\n"])
    other.write(["of a listener\n"])
    assert path.read_text() == "of the core\nof a listener\n"
    rotating.close()
    other.close()
    [old] = [file for file in tmp_path.iterdir() if file != path]
    assert old.stat().st_size == 250
