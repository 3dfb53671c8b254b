"""Random runs of the model of the feeds: `python -m chaos.feed_model [--runs N] [--seed N] [--steps N]`.

Each run has its own seed, counted up from the first. One that fails is made as short as it still fails, and
shown: take its steps into tests/core/test_feed_sequences.py. Exit code 1: something was wrong.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from support.feed_machine import BOTH, KINDS, SELDOM, Recovery
from support.steps import CHOOSES, Choice, Taken, steps_of


def draw(choice: Choice, rng: random.Random) -> Any:
    if choice.most < 0:
        return rng.choice(choice.values)
    return [rng.choice(choice.values) for _ in range(rng.randint(0, choice.most))]


def at_random(kind: type[Recovery], seed: int, count: int) -> Iterator[Taken]:
    """Yield steps, each of them possible or not."""
    rng = random.Random(seed)
    steps = sorted(steps_of(kind).items())
    # Each run has some steps often and others never: what they do together is seen only without the rest.
    weights = [rng.choice((0, 1, 1, 1, 4)) for _ in steps] if seed % 2 else [1] * len(steps)
    seldom = rng.choice((SELDOM, BOTH))
    for _ in range(count):
        name, step = rng.choices(steps, weights)[0]
        given = {
            of: draw(seldom if choice is SELDOM else choice, rng)
            for of, choice in step.choices.items()
            if choice is not CHOOSES
        }
        yield Taken(name, given, [rng.randrange(1000) for _ in range(8)])


def run(kind: type[Recovery], sequence: Sequence[Taken]) -> str:
    """Do what is possible of it; return what is wrong, or nothing."""
    try:
        kind.run(sequence)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _kind(problem: str) -> str:
    """A problem without its numbers: a shorter run has others."""
    return problem.split(": {")[0].split(": [")[0]


def shorten(kind: type[Recovery], done: list[Taken], problem: str) -> list[Taken]:
    """Leave out what is not needed."""
    size = len(done)
    while size:
        at = 0
        while at < len(done):
            fewer = done[:at] + done[at + size :]
            if _kind(run(kind, fewer)) == _kind(problem):
                done = fewer
            else:
                at += size
        size //= 2
    return done


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.feed_model", description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.runs:,} runs of {options.steps} steps", flush=True)
    wrong: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.runs):
        kind = KINDS[seed // 2 % len(KINDS)]
        sequence = list(at_random(kind, seed, options.steps))
        if problem := run(kind, sequence):
            wrong[_kind(problem)] += 1
            print(f"WRONG: {kind.__name__}, seed {seed}: {problem}")
            for taken in shorten(kind, sequence, problem):
                print(f"    {taken}")
            sys.stdout.flush()
    for what, count in wrong.items():
        print(f"{count:>6} {what}")
    print(f"wrong: {wrong.total()}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
