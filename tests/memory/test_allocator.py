"""What large messages cost the kernel: pages that it has to clear for the server, again and again."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from memory.conftest import Site
from support.memory import MIB

MESSAGES = 20
PAGE = 4096

pytestmark = [
    pytest.mark.parametrize("loop", ["uvloop"], indirect=True, scope="module"),
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is set is glibc's"),
]


@pytest.fixture(scope="module")
def allocator() -> dict[str, str]:
    """The server decides."""
    return {}


def page_faults(site: Site) -> int:
    """Minor faults so far (`minflt`, proc(5))."""
    fields = Path(f"/proc/{site.server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[7])


async def test_the_memory_of_large_messages_is_used_again(site: Site) -> None:
    """glibc gave each block back to the kernel: a message of 1 MB had ten times its pages cleared."""
    [client] = await site.join("large", 1)

    async def publish() -> None:
        await site.publish("large", MIB)
        await client.frame()

    for _ in range(3):
        await publish()
    before = page_faults(site)
    for _ in range(MESSAGES):
        await publish()
    assert page_faults(site) - before < 2 * MESSAGES * MIB / PAGE
