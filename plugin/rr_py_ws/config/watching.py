"""The section `reload`: workers are replaced when the files of their program change.

Source: roadrunner-server/reload config.go and watcher.go @v4, the same as in RoadRunner 2.11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from rr_py_ws.config import quantities, values
from rr_py_ws.config.named_files import missing
from rr_py_ws.config.report import Finding, about
from rr_py_ws.config.section import Flag, RRSection, TextList, decoded
from rr_py_ws.config.suggestion import did_you_mean
from rr_py_ws.config.values import shown

OURS = ("websockets", "http")
"""The plugins that have workers here; their names are those of the services."""
_OTHERS = "centrifuge grpc jobs service tcp temporal"


def _interval(value: object) -> float:
    """A duration of at least a second; 0 is the default."""
    seconds = quantities.duration(value)
    if 0 < seconds < 1:
        raise ValueError("accepted: a duration of at least 1s")
    return seconds


class ReloadService(RRSection):
    """`reload.services.<name>`: what is watched for the workers of one plugin.

    Attributes:
        dirs: directories, relative to that of the file.
        recursive: whether those in them are watched, too.
        ignore: paths of directories and files, no patterns.
        patterns: besides those of `reload`.
    """

    dirs: TextList = ()
    recursive: Flag = False
    ignore: TextList = ()
    patterns: TextList = ()


class Reload(RRSection):
    """`reload`: for development.

    Attributes:
        interval: seconds without a further change after which the workers are replaced.
        patterns: a file counts when its name has one of these texts in it.
        services: plugin -> what is watched.
    """

    interval: Annotated[float, decoded(_interval)] = 1.0
    patterns: TextList = (".php",)
    services: Annotated[dict[str, ReloadService], decoded(values.sections)] = Field(default_factory=dict)


def reload_findings(section: Reload, pools: tuple[str, ...], directory: Path) -> Iterator[Finding]:
    """Say what becomes of each service.

    Args:
        section: `reload`.
        pools: the plugins that have workers.
        directory: what its paths are relative to.
    """
    if not section.services:
        yield about("reload.services", "warning", "missing, so nothing is watched")
    for name, service in section.services.items():
        yield from _service_findings(f"reload.services.{name}", name, service, pools, directory)


def _service_findings(
    key: str, name: str, service: ReloadService, pools: tuple[str, ...], directory: Path
) -> Iterator[Finding]:
    if name in pools:
        if service.dirs:
            text = f"workers of {name} are replaced when files change in {', '.join(service.dirs)}"
            yield Finding("reload", "used", text)
        else:
            yield about(f"{key}.dirs", "warning", "missing, so nothing is watched")
        for _, problem in missing_directories({name: service}, directory):
            yield Finding("reload", "warning", problem)
    elif name in OURS:
        yield about(key, "ignored", f"this file has no workers for {name}")
    elif name in _OTHERS.split():
        yield about(key, "ignored", "a plugin of RoadRunner that is not here")
    else:
        meant = did_you_mean(name, (*OURS, *_OTHERS.split()))
        yield about(key, "warning", f"no such plugin{meant}")


def missing_directories(services: Mapping[str, ReloadService], directory: Path) -> Iterator[tuple[str, str]]:
    """Yield the plugin of each directory that is not there, and what to say of that."""
    for name, service in services.items():
        for entry in service.dirs:
            if problem := missing(directory, entry, "directory"):
                text = f"found {shown(entry)}, which {problem}"
                yield name, f"reload.services.{name}.dirs: {text}; it is watched as soon as it is there"
