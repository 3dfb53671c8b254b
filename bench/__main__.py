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
from bench.connecting import SCENARIOS as CONNECTING
from bench.delivery import SCENARIOS as DELIVERY
from bench.forward import SCENARIOS as FORWARD
from bench.forwarding import SCENARIOS as FORWARDING
from bench.generator import LoadError, build
from bench.history import SCENARIOS as HISTORY
from bench.latency import SCENARIOS as LATENCY
from bench.measure import QUICK, Effort, Line, Scenario, Start
from bench.pages import SCENARIOS as PAGES
from bench.peers import find_bun, find_others
from bench.php import SCENARIOS as PHP
from bench.processes import SCENARIOS as PROCESSES
from bench.redis import SCENARIOS as REDIS
from bench.servers import ServerError, start_ours

SCENARIOS: dict[str, Scenario] = (
    DELIVERY
    | CONNECTING
    | LATENCY
    | PHP
    | COMPRESSION
    | HISTORY
    | REDIS
    | FORWARDING
    | FORWARD
    | PAGES
    | PROCESSES
)
_WITH_REDIS = {*REDIS, "history-redis", "history-return"}


def main() -> int:
    options = _parse()
    effort = _within_descriptor_limit(QUICK if options.quick else Effort())
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        names, starts = _peers(options, directory)
        try:
            build()
            lines = uvloop.run(
                _measure(_chosen(options.only), [partial(start_ours, directory), *starts], effort, names)
            )
        except (LoadError, ServerError) as error:
            _say(f"error: {error}")
            return 1
    if options.json:
        print(report.as_json(lines, report.machine()))
    return int(options.strict and any(line.passed is False for line in lines))


def _peers(options: argparse.Namespace, directory: Path) -> tuple[list[str], list[Start]]:
    """Names of the peers besides Bun, and how all are started; without Bun, none."""
    if options.no_peer:
        return [], []
    bun = find_bun()
    if bun is None:
        _say("Neither bun nor npm is there: measuring ours only.")
        return [], []
    others = dict(find_others()) if options.peers else {}
    return list(others), [partial(start, directory) for start in (bun, *others.values())]


async def _measure(
    names: Sequence[str], starts: Sequence[Start], effort: Effort, others: Sequence[str]
) -> list[Line]:
    _say(", ".join(f"{name} {value}" for name, value in report.machine().items()))
    _say(f"{effort.rounds} rounds. {report.LEGEND}\n\n{report.heading(others)}")
    lines = []
    for name in names:
        async for line in SCENARIOS[name](starts, effort):
            _say(report.row(line))
            lines.append(line)
    return lines


def _chosen(only: Sequence[str] | None) -> list[str]:
    """Those whose name is, or begins with, one of these; all when nothing is asked for."""
    chosen = [name for name in SCENARIOS if not only or any(_begins(name, one) for one in only)]
    if shutil.which("redis-server"):
        return chosen
    _say("redis-server is not there: measuring without Redis.")
    return [name for name in chosen if name not in _WITH_REDIS]


def _begins(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}-")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=SCENARIOS,
        help="measure this, and what begins with it and a hyphen; repeatable",
    )
    parser.add_argument("--quick", action="store_true", help="less of everything, for a first look")
    parser.add_argument("--json", action="store_true", help="JSON on stdout; the table goes to stderr")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a target is missed")
    parser.add_argument("--no-peer", action="store_true", help="do not look for Bun")
    parser.add_argument(
        "--peers", action="store_true", help="also measure ws (npm), websockets and picows (PyPI) beside Bun"
    )
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _within_descriptor_limit(effort: Effort) -> Effort:
    """Raise the limit of open files as far as allowed; do with fewer connections when that is not enough."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = hard - 200
    if max(effort.idle_connections, effort.returning) <= most:
        return effort
    _say(f"At most {most} connections: `ulimit -Hn` is {hard}.")
    return replace(
        effort,
        idle_connections=min(most, effort.idle_connections),
        connections=min(most, effort.connections),
        returning=min(most, effort.returning),
        stormers=min(most, effort.stormers),
    )


if __name__ == "__main__":
    sys.exit(main())
