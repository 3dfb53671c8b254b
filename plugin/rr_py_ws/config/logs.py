"""The section `logs`: how and where this program writes its log."""

from __future__ import annotations

import tempfile
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from rr_py_ws.config import quantities, values
from rr_py_ws.config.section import Count, Flag, RRSection, Text, TextList, decoded

LogMode = Literal["development", "production", "raw", "none", "off"]
LogLevel = Literal["debug", "info", "warn", "error", "dpanic", "panic", "fatal"]
LogEncoding = Literal["console", "json"]


class FileLoggerOptions(RRSection):
    """`logs.file_logger_options`: a rotated file instead of `output`.

    Attributes:
        max_size: bytes; the file has MiB.
        max_age: days.
    """

    log_output: Text = Field(default_factory=tempfile.gettempdir)
    max_size: Annotated[int, decoded(quantities.mebibytes)] = 100 * 1024 * 1024
    max_age: Count = 24
    max_backups: Count = 10
    compress: Flag = False


class Channel(RRSection):
    """`logs.channels.<name>`: the keys of `logs` for one channel; nothing is inherited from `logs`."""

    mode: LogMode = "development"
    level: LogLevel = "debug"
    encoding: Annotated[LogEncoding, decoded(values.one_of("console", "json"))] = "console"
    output: TextList = ("stderr",)
    error_output: TextList = Field(default=("stderr",), alias="erroroutput")
    line_ending: Text = "\n"
    file_logger_options: FileLoggerOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, found: Any) -> Any:
        """Ignore unknown modes and levels; without them, level and encoding follow the mode."""
        if not isinstance(found, dict):
            return found
        mode, level = (str(found.get(key) or "").lower() for key in ("mode", "level"))
        # RoadRunner ignores a mode or level that it does not know; the report warns of it.
        mode = mode if mode in get_args(LogMode) else "development"
        if level not in get_args(LogLevel):
            level = cls._default_level(mode)
        # zap's production configuration writes JSON; the other modes write text.
        encoding = found.get("encoding") or ("json" if mode == "production" else "console")
        return found | {"mode": mode, "level": level, "encoding": encoding}

    @classmethod
    def _default_level(cls, mode: str) -> str:
        # The levels that RoadRunner's logger begins with in these modes.
        return "info" if mode in ("production", "raw") else "debug"


class Logs(Channel):
    """`logs`: how and where this program writes its log."""

    channels: Annotated[dict[str, Channel], decoded(values.sections)] = Field(default_factory=dict)

    @classmethod
    def _default_level(cls, mode: str) -> str:
        return "debug"
