"""Cookies and an origin rule that allows every page: somebody should know."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rr_py_ws import logs
from rr_py_ws.adapters.ws import handler
from rr_py_ws.wire.verdict import ALLOWED, FAILED
from support.ws_peer import Gate, request
from support.ws_site import Start

BROWSER = ("Cookie: sid=1", "Origin: https://elsewhere.test")


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], int]:
    """How often the log has warned of cookies."""
    monkeypatch.setattr(handler, "log", logs.get_logger("websockets"))
    return lambda: capsys.readouterr().err.count("a browser sent cookies")


async def test_cookies_from_any_page_are_warned_of_once(start: Start, warnings: Callable[[], int]) -> None:
    """A page that the application does not know is let in with its visitor's session."""
    site = await start(Gate())
    for _ in range(3):
        await site.open(*BROWSER)
    assert warnings() == 1


@pytest.mark.parametrize("headers", [BROWSER[:1], BROWSER[1:], ()], ids=["no page", "no cookies", "neither"])
async def test_a_client_that_is_no_page_with_cookies_is_no_danger(
    start: Start, warnings: Callable[[], int], headers: tuple[str, ...]
) -> None:
    site = await start(Gate())
    await site.open(*headers)
    assert warnings() == 0


async def test_a_page_that_is_named_is_no_danger(start: Start, warnings: Callable[[], int]) -> None:
    site = await start(Gate(), allowed_origin=("https://elsewhere.test",))
    await site.open(*BROWSER)
    assert warnings() == 0


async def test_cookies_that_nobody_reads_are_no_danger(start: Start, warnings: Callable[[], int]) -> None:
    """Without PHP everybody may do everything; a cookie adds nothing."""
    site = await start()
    await site.open(*BROWSER)
    assert warnings() == 0


async def test_a_page_that_php_refuses_is_no_danger(start: Start, warnings: Callable[[], int]) -> None:
    site = await start(Gate(connect=FAILED, join=ALLOWED))
    assert (await site.ask(request("/ws", *BROWSER))).startswith(b"HTTP/1.1 400 ")
    assert warnings() == 0
