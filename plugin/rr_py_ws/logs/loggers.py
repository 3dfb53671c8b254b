"""The loggers that modules hold, and how the `logs` section is put behind them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from rr_py_ws.errors import ConfigError
from rr_py_ws.logs.limiter import Limiter
from rr_py_ws.logs.outputs import FileOutput, Output, RotatingFileOutput, StreamOutput
from rr_py_ws.logs.render import BRIEF, FULL, Limits, Renderer

if TYPE_CHECKING:
    from rr_py_ws.config import Channel, FileLoggerOptions, Logs

_METHODS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "dpanic": logging.CRITICAL,
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}


class Emit(Protocol):
    """Writes one event."""

    def __call__(self, event: str, **fields: object) -> None:
        """Write a constant text and the values that belong to it."""


class Logger:
    """The log of one channel. Its methods are exchanged by `setup`, so a module may keep the object."""

    __slots__ = ("debug", "error", "info", "warning")
    debug: Emit
    info: Emit
    warning: Emit
    error: Emit


@dataclass(frozen=True, slots=True)
class _Route:
    """Where the events of a channel go, and how they look."""

    level: int
    mode: str
    json: bool
    line_ending: str
    outputs: tuple[Output, ...]

    def emitters(self, channel: str, limits: Limits) -> dict[str, Emit]:
        """Make the four methods of a logger of the channel."""
        bound = structlog.wrap_logger(
            _Writer(self.outputs),
            processors=[
                structlog.processors.format_exc_info,
                Renderer(
                    channel,
                    self.mode,
                    self.json,
                    colour=all(output.terminal for output in self.outputs),
                    line_ending=self.line_ending,
                    limits=limits,
                ),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(self.level),
        ).bind()
        return {
            method: getattr(bound, method) if level >= self.level else _discard
            for method, level in _METHODS.items()
        }


class _Writer:
    """What structlog hands a finished line to."""

    __slots__ = ("_outputs",)

    def __init__(self, outputs: tuple[Output, ...]) -> None:
        self._outputs = outputs

    def write(self, line: bytes) -> None:
        for output in self._outputs:
            output.write(line)

    debug = info = warning = error = write


def _discard(event: str, **fields: object) -> None:
    """Take an event below the level."""


_STDERR = StreamOutput("stderr")
_DEFAULT = _Route(logging.WARNING, "development", False, "\n", (_STDERR,))
_NOWHERE = _Route(logging.CRITICAL, "development", False, "\n", ())
_plain: dict[str, Logger] = {}
_limited: dict[str, tuple[Logger, Limiter]] = {}


@dataclass(frozen=True, slots=True)
class _Setup:
    """What is in force: the route of each channel that has its own, that of the others, the open outputs."""

    main: _Route
    routes: dict[str, _Route]
    opened: tuple[FileOutput, ...]


_BEFORE = _Setup(_DEFAULT, {}, ())
_current = _BEFORE


def get_logger(channel: str) -> Logger:
    """Return the channel's logger; always the same object."""
    if channel not in _plain:
        _plain[channel] = Logger()
        _connect(channel)
    return _plain[channel]


def get_limited(channel: str) -> Logger:
    """Return the channel's logger for events that a peer can trigger: 10 of each in 10 seconds, briefly.

    The first one written after a pause says how many were not, as the field `suppressed`. Texts are cut at
    512 characters, lists at 10 items (16,384 and 100 in the other logger).
    """
    if channel not in _limited:
        _limited[channel] = (Logger(), Limiter())
        _connect(channel)
    return _limited[channel][0]


def setup(logs: Logs) -> None:
    """Apply the `logs` section to all loggers, those that exist and those to come.

    Also takes what libraries and asyncio report by `logging` (warnings and worse) into the channel `app`.

    Raises:
        ConfigError: a log file cannot be opened; everything stays as it was.
    """
    opener = _Opener()
    try:
        main = opener.route(logs)
        routes = {name.lower(): opener.route(channel) for name, channel in logs.channels.items()}
    except ConfigError:
        for output in opener.opened:
            output.close()
        raise
    _install(_Setup(main, routes, opener.opened))
    logging.getLogger().addHandler(_BRIDGE)


def shutdown() -> None:
    """Close log files and go back to the state before `setup`."""
    _install(_BEFORE)
    logging.getLogger().removeHandler(_BRIDGE)


def _install(setup: _Setup) -> None:
    global _current
    former, _current = _current, setup
    for channel in {*_plain, *_limited}:
        _connect(channel)
    for output in former.opened:
        output.close()


def _connect(channel: str) -> None:
    route = _current.routes.get(channel, _current.main)
    if channel in _plain:
        for method, emit in route.emitters(channel, FULL).items():
            setattr(_plain[channel], method, emit)
    if channel in _limited:
        logger, limiter = _limited[channel]
        for method, emit in route.emitters(channel, BRIEF).items():
            setattr(logger, method, emit if emit is _discard else partial(_emit_limited, limiter, emit))


def _emit_limited(limiter: Limiter, emit: Callable[..., Any], event: str, **fields: object) -> None:
    suppressed = limiter.admit(event)
    if suppressed:
        emit(event, **fields, suppressed=suppressed)
    elif suppressed is not None:
        emit(event, **fields)


class _Opener:
    """Opens the outputs of one setup; the same file named twice is opened once."""

    def __init__(self) -> None:
        self._files: dict[str, FileOutput] = {}

    @property
    def opened(self) -> tuple[FileOutput, ...]:
        """All that was opened so far."""
        return tuple(self._files.values())

    def route(self, channel: Channel) -> _Route:
        if channel.mode in ("none", "off"):
            return _NOWHERE
        complain = self._output(channel.error_output[0], _STDERR)
        if channel.file_logger_options is not None:
            outputs: tuple[Output, ...] = (self._rotating(channel.file_logger_options, complain),)
        else:
            outputs = tuple(self._output(name, complain) for name in channel.output)
        return _Route(
            level=_LEVELS[channel.level],
            mode=channel.mode,
            json=channel.encoding == "json" or channel.file_logger_options is not None,
            line_ending=channel.line_ending,
            outputs=outputs,
        )

    def _output(self, name: str, complain: Output) -> Output:
        if name in ("stdout", "stderr"):
            return StreamOutput(name)
        if name not in self._files:
            self._files[name] = FileOutput(Path(name), complain)
        return self._files[name]

    def _rotating(self, options: FileLoggerOptions, complain: Output) -> Output:
        path = Path(options.log_output)
        if str(path) not in self._files:
            self._files[str(path)] = RotatingFileOutput(
                path,
                complain,
                max_size=options.max_size * 1024 * 1024,
                max_age=options.max_age,
                max_backups=options.max_backups,
                compress=options.compress,
            )
        return self._files[str(path)]


class _Bridge(logging.Handler):
    """Takes records of the standard `logging` into the channel `app`, rate limited, tracebacks in full."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._limiter = Limiter()

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger("app")
        write = log.error if record.levelno >= logging.ERROR else log.warning
        try:
            text = record.getMessage()
        except Exception:  # a library's wrong format string is no reason to fail
            text = str(record.msg)
        failure = {"exc_info": record.exc_info} if record.exc_info else {}
        _emit_limited(self._limiter, write, text, source=record.name, **failure)


_BRIDGE = _Bridge(logging.WARNING)
