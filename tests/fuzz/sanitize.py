"""Look for faults of memory in the native part: `python -m fuzz.sanitize [--seconds N]`.

The native part is compiled with the address and the undefined behaviour sanitizer. Its tests run with that,
and then the target `twins` gets inputs that are made of those in its corpus. (The fuzzer itself, which learns
what leads to new code, cannot see into the sanitized library.) Exit code other than 0: something was found.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g")
TESTS = ("tests/test_native.py", "tests/wire/test_jsontext.py", "tests/wire/test_push.py",
         "tests/wire/test_publish_call.py", "tests/core/test_flush.py",
         "tests/adapters/ws/protocol/test_fast_path.py")  # fmt: skip
NOT_ABOUT_C = "not wheel"
LONGEST = 300


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.sanitize", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for the inputs that are made up")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return try_inputs(options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        environment = prepare(Path(folder))
        tests = [*("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", NOT_ABOUT_C), *TESTS]
        inputs = ["-m", "fuzz.sanitize", "--inside", "--seconds", str(options.seconds)]
        return max(
            subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False).returncode != 0
            for command in (tests, inputs)
        )


def prepare(folder: Path) -> dict[str, str]:
    """Put the package with a sanitized native part into a folder; return the environment to run it in."""
    package = folder / "rr_py_ws"
    shutil.copytree(ROOT / "plugin" / "rr_py_ws", package, ignore=shutil.ignore_patterns("__pycache__"))
    sys.path.append(str(ROOT / "plugin"))
    from build_native import compile_to

    compile_to(package / "_speed.abi3.so", *SANITIZERS)
    runtime = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return os.environ | {
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'tests'}",
        "PYTHONMALLOC": "malloc",  # so that each object has borders of its own
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps much until its end
    }


def try_inputs(seconds: int) -> int:
    """Give the target made-up inputs for so long."""
    from fuzz.fuzzing import CORPUS
    from fuzz.targets import TARGETS
    from rr_py_ws import native

    if native.MISSING:
        print(native.MISSING)
        return 1
    folders = (CORPUS / "twins", CORPUS / "rpc_publish")
    seeds = [file.read_bytes() for folder in folders for file in sorted(folder.iterdir())]
    seed, ends, count = time.time_ns(), time.monotonic() + seconds, 0
    chance = random.Random(seed)
    while time.monotonic() < ends:
        data = mutate(seeds, chance)
        try:
            TARGETS["twins"](data)
        except Exception:
            print(f"twins differ (seed {seed}): {data!r}")
            raise
        count += 1
    print(f"twins: {count:,} inputs, nothing found")
    return 0


def mutate(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """Make an input of some that are known: parts of them in a row, with bytes that are changed."""
    data = bytearray()
    for _ in range(chance.randint(1, 3)):
        seed = chance.choice(seeds)
        start = chance.choice((0, chance.randint(0, len(seed))))
        data += seed[start : chance.choice((len(seed), chance.randint(start, len(seed))))]
    for _ in range(chance.choice((0, 1, 1, 2, 9))):
        if data:
            data[chance.randrange(len(data))] = chance.choice((chance.randrange(256), 0, 0x7F, 0x80, 0xFF))
    return bytes(data[:LONGEST])


if __name__ == "__main__":
    sys.exit(main())
