from __future__ import annotations

import pytest

from support.http_site import Site, get
from support.waiting import eventually


@pytest.mark.parametrize(
    "target", ["/echo", "/echo?", "/ech%6F?a=b", "http://app.test/echo", "HTTPS://a/echo"]
)
async def test_the_decoded_path_chooses_the_handler(site: Site, target: str) -> None:
    client = await site.send(get(target))
    assert await client.exactly(6) == b"hello\n"


@pytest.mark.parametrize(
    "target", ["/", "/echo/", "/ECHO", "//echo", "/e%2Fcho", "/echo%3Fa", "/x?/echo", "http://a", "*"]
)
async def test_every_other_path_is_not_found(site: Site, target: str) -> None:
    status, headers, body = await site.ask(get(target))
    assert (status, headers["connection"]) == (404, "close")
    assert body.startswith(b"nothing is served at ") and body.endswith(b"; nothing here\n")
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert site.sample("handshakes_refused", "path") == 1


async def test_each_path_has_its_own_handler(site: Site) -> None:
    await site.send(get("/held"))
    await site.echo()
    await eventually(lambda: len(site.held) == 1)
    assert site.held[0].request.head.path == "/held"
