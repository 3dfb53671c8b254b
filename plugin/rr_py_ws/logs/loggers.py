"""The loggers that modules hold, and the `logs` section behind them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rr_py_ws.errors import ConfigError
from rr_py_ws.logs.limiter import Limiter
from rr_py_ws.logs.output_queue import CLOSE_TIMEOUT, OutputQueue
from rr_py_ws.logs.outputs import Output, StreamOutput
from rr_py_ws.logs.render import BRIEF, FULL, Limits, Renderer
from rr_py_ws.logs.routes import Outputs, Route, at_level, close_all
from rr_py_ws.metrics import Sample, counter

if TYPE_CHECKING:
    from rr_py_ws.config import Logs

_METHODS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Logger:
    """The log of one channel. `setup` changes what is behind it, so a module may keep the object.

    Args:
        channel: the name in the line.
        limits: how much of each value is written.
        limiter: how often the same event is written; None for always. The first line after a pause has the
            number of suppressed ones as the field `suppressed`.

    Attributes:
        debugs: whether `debug` writes, for callers whose fields take time.
        infos: whether `info` writes.
    """

    debugs: bool
    infos: bool

    def __init__(self, channel: str, limits: Limits, limiter: Limiter | None, route: Route) -> None:
        self.channel = channel
        self._limits = limits
        self._limiter = limiter
        self.connect(route)

    def connect(self, route: Route) -> None:
        """Write by a route from now on."""
        lowest, self._render, self._outputs = route
        self.debugs = lowest <= logging.DEBUG
        self.infos = lowest <= logging.INFO
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
            output.write((line,))


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
_DEFAULT: Route = (
    logging.WARNING,
    Renderer("development", json=False, colour=_STDERR.terminal),
    (_STDERR,),
)
_LIBRARIES = _LibraryHandler(logging.WARNING)

_loggers: dict[tuple[str, Limits, bool], Logger] = {}
_main = _DEFAULT
_routes: Mapping[str, Route] = {}
_queues: dict[str, OutputQueue] = {}


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


def setup(section: Logs, max_queue: int, *, shared: bool = False, rotates: bool = True) -> None:
    """Apply the `logs` section to all loggers, those that exist and those to come.

    From now on nobody who logs waits for an output: each has a queue, and a thread that writes. Also takes
    what libraries and asyncio report by `logging` (warnings and worse) into the channel `app`.

    Args:
        section: where lines go.
        max_queue: bytes of lines that may wait for each output; more are dropped.
        shared: whether other processes of this program write to the same files.
        rotates: whether it is this process that sets full files aside.

    Raises:
        ConfigError: a log file cannot be opened; everything stays as it was.
    """
    outputs = Outputs(section, max_queue, shared=shared, rotates=rotates)
    try:
        main = outputs.route(section)
        routes = {name.lower(): outputs.route(channel) for name, channel in section.channels.items()}
    except ConfigError:  # a channel's file may have been opened before that of another failed
        close_all(outputs.queues)
        raise
    _install(main, routes, outputs.queues)
    logging.getLogger().addHandler(_LIBRARIES)


def set_levels(section: Logs) -> None:
    """Take the levels of a section after `setup`; outputs, and what is off, stay as they are."""
    global _main, _routes
    _main = at_level(_main, section)
    _routes = {name: at_level(route, section.channels.get(name, section)) for name, route in _routes.items()}
    for logger in _loggers.values():
        logger.connect(_routes.get(logger.channel, _main))


def shutdown(timeout: float = CLOSE_TIMEOUT) -> None:
    """Write what waits, close log files and go back to the state before `setup`.

    An output that stands still loses the rest of its lines after `timeout` seconds.
    """
    logging.getLogger().removeHandler(_LIBRARIES)
    _install(_DEFAULT, {}, {}, timeout)


def print_line(line: str) -> None:
    """Print a line for a person to stdout; between `setup` and `shutdown` without waiting for the stream."""
    output: Output = _queues.get("stdout") or StreamOutput("stdout")
    output.write((f"{line}\n",))


def metrics() -> Iterator[Sample]:
    """Yield how many lines were dropped since `setup`."""
    dropped = sum(queue.dropped for queue in _queues.values())
    yield counter("log_lines_dropped", "Log lines dropped because an output stood still.", dropped)


def _install(
    main: Route,
    routes: Mapping[str, Route],
    queues: dict[str, OutputQueue],
    timeout: float = CLOSE_TIMEOUT,
) -> None:
    global _main, _routes, _queues
    former, _main, _routes, _queues = _queues, main, routes, queues
    for logger in _loggers.values():
        logger.connect(routes.get(logger.channel, main))
    close_all(former, timeout)  # last: until now a logger could write to it
