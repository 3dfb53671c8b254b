"""Chaos for a while: `python -m chaos [--seconds N] [--seed N] [--alone]`. Exit code 1: something was wrong.

An attacker of each kind has its turn meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from chaos.attackers.kinds import ANYWHERE
from chaos.storm import Storm, start_server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--alone", action="store_true", help="without attackers")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.seconds:g} seconds", flush=True)
    with TemporaryDirectory() as directory:
        server = start_server(Path(directory))
        storm = Storm(server, options.seed, (None,) if options.alone else ANYWHERE)
        try:
            asyncio.run(storm.rage(options.seconds))
        finally:
            server.end()
    for what, count in sorted(storm.counts.items()):
        print(f"{what:32} {count:>12,}")
    for problem in storm.wrong[:20]:
        print(f"WRONG: {problem}")
    print(f"wrong: {len(storm.wrong)}")
    return int(bool(storm.wrong))


if __name__ == "__main__":
    sys.exit(main())
