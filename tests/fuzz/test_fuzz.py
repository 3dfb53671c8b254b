"""Every decoder on the corpus, and for a moment on what a fuzzer makes of it; `make fuzz` goes on longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.fuzzing import CORPUS, Fuzzer
from fuzz.targets import TARGETS

RUNS = 500
SAMPLES = [
    pytest.param(name, path, id=f"{name}/{path.name}")
    for name in TARGETS
    for path in sorted((CORPUS / name).iterdir())
]


@pytest.mark.parametrize(("name", "path"), SAMPLES)
def test_a_decoder_takes_a_sample(
    name: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    TARGETS[name](path.read_bytes())


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Fuzzer]:
    with Fuzzer() as fuzzer:
        yield fuzzer


@pytest.mark.parametrize("name", TARGETS)
def test_a_decoder_takes_whatever_the_fuzzer_comes_upon(name: str, fuzzer: Fuzzer, tmp_path: Path) -> None:
    """The same inputs each time: the seed and the number of runs are fixed."""
    outcome = fuzzer.fuzz(name, tmp_path, f"-runs={RUNS}", "-seed=1")
    assert not outcome.found, outcome.report[-6000:]


def test_a_decoder_that_lets_another_exception_out_is_found(tmp_path: Path) -> None:
    with Fuzzer("fuzz.broken") as fuzzer:
        outcome = fuzzer.fuzz("goridge", tmp_path, f"-runs={RUNS}", "-seed=1")
    assert len(outcome.found) == 1
    assert "IndexError" in outcome.report
