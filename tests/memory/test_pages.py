"""What requests for pages make the server hold: one test for each row of the table that is about them."""

from __future__ import annotations

import pytest

from memory.conftest import PAGES, Site
from support.memory import KIB, MIB

COUNT = 40
SLACK = 2 * MIB
REQUEST = 512 * KIB
PAGE = 2 * MIB

one_port = pytest.mark.parametrize("loop", ["uvloop"], indirect=True, scope="module")


def post(kind: str, size: int) -> bytes:
    return (
        f"POST /page HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n".encode()
    )


@one_port
async def test_pages_that_nobody_takes(site: Site) -> None:
    before = await site.metric("rr_ws_page_answers_cut_total")
    memory = site.measure()
    await site.sends(COUNT, b"GET /page?do=bytes-%d HTTP/1.1\r\nHost: a\r\n\r\n" % PAGE)
    await site.reaches("rr_ws_page_answers_cut_total", before + COUNT - PAGES // PAGE)
    # A worker's answer is there twice while it is taken out of its frame.
    assert memory.peak() < PAGES + 3 * PAGE + COUNT * REQUEST // 2 + SLACK


@one_port
async def test_bodies_that_are_not_complete(site: Site) -> None:
    """They are in files."""
    memory = site.measure()
    await site.sends(COUNT, post("application/octet-stream", MIB) + bytes(MIB - 1))
    await site.reaches("rr_ws_page_requests_running", COUNT)
    assert memory.peak() < COUNT * REQUEST + SLACK


@one_port
async def test_forms_that_are_not_complete(site: Site) -> None:
    memory = site.measure()
    for _ in range(COUNT):
        client = await site.connect()
        await client.send(post("application/x-www-form-urlencoded", PAGE) + b"a" * 1_900_000)
    assert memory.peak() < 2 * PAGES + COUNT * REQUEST + SLACK
