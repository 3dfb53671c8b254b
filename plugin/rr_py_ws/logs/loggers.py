"""The loggers that modules hold, and the `logs` section behind them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rr_py_ws.errors import ConfigError
from rr_py_ws.logs.limiter import Limiter
from rr_py_ws.logs.outputs import FileOutput, StreamOutput, write_line
from rr_py_ws.logs.render import BRIEF, FULL, Limits, Renderer

if TYPE_CHECKING:
    from rr_py_ws.config import Channel, FileLoggerOptions, Logs

_METHODS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_NOTHING = logging.CRITICAL
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    # zap's levels above error: no event of this program is that bad.
    "dpanic": _NOTHING,
    "panic": _NOTHING,
    "fatal": _NOTHING,
}


_Route = tuple[int, Renderer, Sequence[logging.Handler]]
"""What a section says about a channel: which level is written, how a line looks, and where it goes.

Outputs get finished lines, so that a `QueueHandler` among them could move the writing into a thread.
"""


class Logger:
    """The log of one channel. `setup` changes what is behind it, so a module may keep the object.

    Args:
        channel: the name in the line.
        limits: how much of each value is written.
        limiter: how often the same event is written; None for always. The first line after a pause has the
            number of suppressed ones as the field `suppressed`.
    """

    def __init__(self, channel: str, limits: Limits, limiter: Limiter | None, route: _Route) -> None:
        self.channel = channel
        self._limits = limits
        self._limiter = limiter
        self.connect(route)

    def connect(self, route: _Route) -> None:
        """Write by a route from now on."""
        lowest, self._render, self._outputs = route
        for name, level in _METHODS.items():
            # Attributes of the object hide the methods, so that a call below the level is an empty call.
            if level < lowest:
                self.__dict__[name] = _discard
            else:
                self.__dict__.pop(name, None)

    def debug(self, event: str, /, **fields: object) -> None:
        """Write what only a developer wants to see."""
        self._write("debug", event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Write what happens as it should."""
        self._write("info", event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Write what a person should look at some day."""
        self._write("warn", event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Write what a person should look at now; `exc_info` adds a traceback as the field `exception`."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if self._limiter is not None:
            suppressed = self._limiter.admit(event)
            if suppressed is None:
                return
            if suppressed:
                fields["suppressed"] = suppressed
        # Rendered now and not in the outputs: the values may change after this call.
        line = self._render(self.channel, level, event, fields, self._limits)
        for output in self._outputs:
            write_line(output, line)


class _LibraryHandler(logging.Handler):
    """Writes what libraries and asyncio log, warnings and worse, to the channel `app`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write with the limits of a limited logger, but with the whole traceback."""
        try:
            text = record.getMessage()
        except Exception:  # a wrong format string in a library must not disturb this program
            text = str(record.msg)
        log = _get("app", FULL, limited=True)
        fields: dict[str, object] = {"source": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        (log.error if record.levelno >= logging.ERROR else log.warning)(text, **fields)


def _discard(event: str, /, **fields: object) -> None:
    """Take an event below the level."""


_STDERR = StreamOutput("stderr")
_DEFAULT: _Route = (
    logging.WARNING,
    Renderer("development", json=False, colour=_STDERR.terminal),
    (_STDERR,),
)
_LIBRARIES = _LibraryHandler(logging.WARNING)

_loggers: dict[tuple[str, Limits, bool], Logger] = {}
_main = _DEFAULT
_routes: Mapping[str, _Route] = {}
_files: Collection[FileOutput] = ()


def get_logger(channel: str) -> Logger:
    """Return the channel's logger; always the same object."""
    return _get(channel, FULL, limited=False)


def get_limited(channel: str) -> Logger:
    """Return the channel's logger for events that a peer can cause: 10 of each in 10 seconds, shortened.

    The first line after a pause has the number of suppressed ones as the field `suppressed`. Texts are cut at
    512 characters, lists at 10 items (16,384 and 100 in the other logger).
    """
    return _get(channel, BRIEF, limited=True)


def _get(channel: str, limits: Limits, *, limited: bool) -> Logger:
    key = channel, limits, limited
    if key not in _loggers:
        route = _routes.get(channel, _main)
        _loggers[key] = Logger(channel, limits, Limiter() if limited else None, route)
    return _loggers[key]


def setup(section: Logs) -> None:
    """Apply the `logs` section to all loggers, those that exist and those to come.

    Also takes what libraries and asyncio report by `logging` (warnings and worse) into the channel `app`.

    Raises:
        ConfigError: a log file cannot be opened; everything stays as it was.
    """
    files: dict[Path, FileOutput] = {}
    try:
        main = _route(section, files)
        routes = {name.lower(): _route(channel, files) for name, channel in section.channels.items()}
    except ConfigError:  # a channel's file may have been opened before that of another failed
        for file in files.values():
            file.close()
        raise
    _install(main, routes, files.values())
    logging.getLogger().addHandler(_LIBRARIES)


def shutdown() -> None:
    """Close log files and go back to the state before `setup`."""
    logging.getLogger().removeHandler(_LIBRARIES)
    _install(_DEFAULT, {}, ())


def _install(main: _Route, routes: Mapping[str, _Route], files: Collection[FileOutput]) -> None:
    global _main, _routes, _files
    former, _main, _routes, _files = _files, main, routes, files
    for logger in _loggers.values():
        logger.connect(routes.get(logger.channel, main))
    for file in former:  # last: until now a logger could write to it
        file.close()


def _route(section: Channel, files: dict[Path, FileOutput]) -> _Route:
    """Open the outputs of a section; a file that is already in `files` is not opened twice."""

    def open_output(
        name: str, error_output: logging.Handler, options: FileLoggerOptions | None = None
    ) -> StreamOutput | FileOutput:
        if options is None and name in ("stdout", "stderr"):
            return StreamOutput(name)
        path = Path(name)
        # Two rotating handlers on one file would each move it away under the other.
        if path not in files:
            files[path] = FileOutput(path, error_output, options)
        return files[path]

    if section.mode in ("none", "off"):
        return _NOTHING, Renderer(section.mode, json=False), ()
    options = section.file_logger_options
    names = section.output if options is None else (options.log_output,)
    error_output = open_output(section.error_output[0], _STDERR)
    outputs = [open_output(name, error_output, options) for name in names]
    renderer = Renderer(
        section.mode,
        json=section.encoding == "json" or options is not None,
        colour=all(output.terminal for output in outputs),
        line_ending=section.line_ending,
    )
    return _LEVELS[section.level], renderer, outputs
