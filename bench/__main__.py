"""`python -m bench`: measure a running server, side by side with Bun's where that can be had."""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from bench.peers import Missing, find_bun, find_own, find_same
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
_ONE_TOPIC = {"fan-out"}
"""Where peers with protocols of their own take part."""
_WITH_REDIS = {*REDIS, "history-redis", "history-return"}


def main() -> int:
    options = _parse()
    effort = _within_descriptor_limit(QUICK if options.quick else Effort())
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        peers = _find_peers(options, directory)
        try:
            build()
            lines = uvloop.run(_measure(_chosen(options.only), partial(start_ours, directory), peers, effort))
        except (LoadError, ServerError) as error:
            _say(f"error: {error}")
            return 1
    if options.json:
        print(report.as_json(lines, report.machine()))
    return int(options.strict and any(line.passed is False for line in lines))


@dataclass(frozen=True)
class Peers:
    """The other servers.

    Attributes:
        bun: the first; without it, none.
        same: those that do the same job, by name.
        own: those that have a protocol of their own.
    """

    bun: Start | None = None
    same: Mapping[str, Start] = field(default_factory=dict)
    own: Mapping[str, Start] = field(default_factory=dict)

    def starts(self, scenario: str) -> list[Start]:
        """How those are started that take part in a scenario."""
        own = self.own.values() if scenario in _ONE_TOPIC else ()
        return [] if self.bun is None else [self.bun, *self.same.values(), *own]


def _find_peers(options: argparse.Namespace, directory: Path) -> Peers:
    if options.no_peer:
        return Peers()
    try:
        bun = partial(find_bun(), directory)
    except Missing as error:
        _say(f"Measuring ours only: {error}.")
        return Peers()
    if not options.peers:
        return Peers(bun)
    same, own = (
        {name: partial(start, directory) for name, start in find(_say)} for find in (find_same, find_own)
    )
    return Peers(bun, same, own)


async def _measure(names: Sequence[str], ours: Start, peers: Peers, effort: Effort) -> list[Line]:
    _say(", ".join(f"{name} {value}" for name, value in report.machine().items()))
    _say(f"{effort.rounds} rounds. {report.LEGEND}\n\n{report.heading([*peers.same, *peers.own])}")
    lines = []
    for name in names:
        async for line in SCENARIOS[name]([ours, *peers.starts(name)], effort):
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
        "--peers",
        action="store_true",
        help="also ws and Socket.IO (npm), websockets and picows (PyPI), NATS and Centrifugo (built with Go)",
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
