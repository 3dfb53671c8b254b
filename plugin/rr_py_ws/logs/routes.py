"""What the `logs` section says of a channel: which level it writes, how a line looks, where it goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rr_py_ws.logs.output_queue import CLOSE_TIMEOUT, OutputQueue
from rr_py_ws.logs.outputs import FileOutput, Output, StreamOutput, try_file
from rr_py_ws.logs.render import Renderer

if TYPE_CHECKING:
    from rr_py_ws.config import Channel, FileLoggerOptions, Logs

_NOTHING = logging.CRITICAL
_LOSS = "log lines were dropped, the output took no more; see websockets.limits.log_queue"
_LEAST_TIMEOUT = 0.05
"""Seconds that an output gets for its last lines after another one has used up the time of all."""
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

Route = tuple[int, Renderer, Sequence[Output]]
"""The same of one channel: the lowest level, what makes the line, the outputs."""


def at_level(route: Route, section: Channel) -> Route:
    """Return a route with the level of a section; one without outputs stays off."""
    _, renderer, outputs = route
    return (_LEVELS[section.level], renderer, outputs) if outputs else route


def try_outputs(section: Logs) -> None:
    """See whether `setup` could open the log files, without making them.

    Raises:
        ConfigError: one of them cannot be opened.
    """
    for channel in (section, *section.channels.values()):
        if channel.mode in ("none", "off"):
            continue
        options = channel.file_logger_options
        for name in (channel.error_output[0], *_names(channel)):
            if not _is_stream(name, options):
                try_file(Path(name), made=options is not None)


def close_all(queues: dict[str, OutputQueue], timeout: float = CLOSE_TIMEOUT) -> None:
    """Close all of them in the time of one; a file before the stream or file that gets its errors."""
    ends = time.monotonic() + timeout
    for queue in reversed(queues.values()):
        # Also after one that stands still, the others have had the time: this is only to see that they end.
        queue.close(max(_LEAST_TIMEOUT, ends - time.monotonic()))


def _names(section: Channel) -> tuple[str, ...]:
    """Return the streams and files of a section; the rotated file replaces all others, as in RoadRunner."""
    options = section.file_logger_options
    return section.output if options is None else (options.log_output,)


def _is_stream(name: str, options: FileLoggerOptions | None) -> bool:
    return options is None and name in ("stdout", "stderr")


class Outputs:
    """Opens the outputs that sections name, each once.

    Two that rotate one file would each move it away under the other, and two queues of one stream would mix
    up the order of its lines.

    Attributes:
        queues: those that are open, by the name of the stream or the path of the file.
    """

    def __init__(self, section: Channel, max_queue: int, *, shared: bool, rotates: bool) -> None:
        self.queues: dict[str, OutputQueue] = {}
        self._shared = shared
        self._rotates = rotates
        self._max_queue = max_queue
        renderer = _renderer(section, colour=False)
        self._describe_loss = lambda lost: renderer("app", "warn", _LOSS, {"lines": lost})
        # Even when no section names it: the program prints to it, see `print_line`.
        self._open("stdout")

    def route(self, section: Channel) -> Route:
        """Open what a section names.

        Raises:
            ConfigError: a log file cannot be opened.
        """
        if section.mode in ("none", "off"):
            return _NOTHING, _renderer(section, colour=False), ()
        error_output = self._open(section.error_output[0])
        options = section.file_logger_options
        outputs = [self._open(name, error_output, options) for name in _names(section)]
        colour = all(output.terminal for output in outputs)
        return _LEVELS[section.level], _renderer(section, colour), outputs

    def _open(
        self, name: str, error_output: Output | None = None, options: FileLoggerOptions | None = None
    ) -> OutputQueue:
        stream = _is_stream(name, options)
        # A path, so that a file with the name of a stream is another key.
        key = name if stream else str(Path(name).absolute())
        if key not in self.queues:
            output: Output = StreamOutput(name)
            if not stream:
                output = FileOutput(
                    Path(name),
                    error_output or StreamOutput("stderr"),
                    options,
                    shared=self._shared,
                    rotates=self._rotates,
                )
            self.queues[key] = OutputQueue(output, self._max_queue, self._describe_loss)
        return self.queues[key]


def _renderer(section: Channel, colour: bool) -> Renderer:
    return Renderer(
        section.mode,
        json=section.encoding == "json" or section.file_logger_options is not None,
        colour=colour,
        line_ending=section.line_ending,
    )
