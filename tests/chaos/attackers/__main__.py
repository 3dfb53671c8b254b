"""One attacker: `python -m chaos.attackers KIND --web HOST:PORT --tls HOST:PORT ...`, see `Target`.

It goes on until it is killed, and says so when it has begun.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import suppress

from chaos.attackers.connection import BEGUN, Attack, Target
from chaos.attackers.kinds import KINDS

_AGAIN = 0.01
"""Seconds before an attacker that was thrown out comes again."""


def again_and_again(attack: Attack, target: Target) -> Iterator[None]:
    """Attack for ever, whatever the server does about it."""
    while True:
        with suppress(OSError):
            yield from attack(target)
        time.sleep(_AGAIN)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chaos.attackers", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    for name in Target._fields:
        parser.add_argument(f"--{name}", type=_address, required=True, metavar="HOST:PORT")
    options = parser.parse_args()
    os.nice(5)  # those who measure have the first right to a core that we share with them
    steps = again_and_again(
        KINDS[options.kind].attack, Target(*(getattr(options, name) for name in Target._fields))
    )
    starter = os.getppid()
    next(steps)
    print(BEGUN, flush=True)
    while os.getppid() == starter:  # nobody is left to kill us otherwise
        next(steps)


if __name__ == "__main__":
    main()
