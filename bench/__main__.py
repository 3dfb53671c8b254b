"""`python -m bench`: measure a running server, side by side with Bun's where that can be had."""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvloop

from bench import report
from bench.compression import SCENARIOS as COMPRESSION
from bench.forward import SCENARIOS as FORWARD
from bench.forwarding import SCENARIOS as FORWARDING
from bench.isolation import SCENARIOS as ISOLATION
from bench.load import LoadError
from bench.pages import SCENARIOS as PAGES
from bench.redis import SCENARIOS as REDIS
from bench.scenarios import QUICK, SCENARIOS, Effort, Line, Start
from bench.servers import ServerError, find_bun, start_bun, start_ours

_BUN_DIRECTORY = Path(".bench")
_OURS = SCENARIOS | COMPRESSION | ISOLATION | FORWARD | FORWARDING | PAGES
_ALL = _OURS | REDIS


def main() -> int:
    options = _parse()
    effort = _within_descriptor_limit(QUICK if options.quick else Effort())
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        starts: list[Start] = [partial(start_ours, directory)]
        bun = None if options.no_peer else find_bun(_BUN_DIRECTORY)
        if bun is not None:
            starts.append(partial(start_bun, bun, directory))
        elif not options.no_peer:
            _say("Neither bun nor npm is there: measuring ours only.")
        try:
            lines = uvloop.run(_measure(options.only or _usual(), starts, effort))
        except (LoadError, ServerError) as error:
            _say(f"error: {error}")
            return 1
    if options.json:
        print(report.as_json(lines, report.machine()))
    return int(options.strict and any(line.passed is False for line in lines))


async def _measure(names: Sequence[str], starts: Sequence[Start], effort: Effort) -> list[Line]:
    _say(", ".join(f"{name} {value}" for name, value in report.machine().items()))
    _say(f"Medians of {effort.rounds} rounds; us: microseconds of the server's CPU time.")
    _say(f"\n{report.heading()}")
    lines = []
    for name in names:
        async for line in _ALL[name](starts, effort):
            _say(report.row(line))
            lines.append(line)
    return lines


def _usual() -> list[str]:
    """What is measured when nothing is asked for."""
    if shutil.which("redis-server"):
        return list(_ALL)
    _say("redis-server is not there: measuring without Redis.")
    return list(_OURS)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=_ALL, help="measure this; repeatable")
    parser.add_argument("--quick", action="store_true", help="less of everything, for a first look")
    parser.add_argument("--json", action="store_true", help="JSON on stdout; the table goes to stderr")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a target is missed")
    parser.add_argument("--no-peer", action="store_true", help="do not look for Bun")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _within_descriptor_limit(effort: Effort) -> Effort:
    """Raise the limit of open files as far as allowed; do with fewer connections when that is not enough."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = hard - 200
    if effort.idle_connections <= most:
        return effort
    _say(f"Only {most} connections instead of {effort.idle_connections}: `ulimit -Hn` is {hard}.")
    return replace(effort, idle_connections=most, connections=min(most, effort.connections))


if __name__ == "__main__":
    sys.exit(main())
