"""`rr-py-ws listen`: a WebSocket client that shows what browsers get."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import click

from rr_py_ws.address import TCPAddress, parse_host_port
from rr_py_ws.cli.console import escape, run_until_signal
from rr_py_ws.cli.flags import Command, Flags
from rr_py_ws.errors import ConfigError, RRWSError

if TYPE_CHECKING:
    from rr_py_ws.config import Config

_MAX_REFUSAL = 500
"""Bytes of the body of a refusal that are shown."""
_CLOSE_TIMEOUT = 1.0
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a listener on all addresses is reached from this machine."""


@click.command(
    cls=Command,
    examples=[
        "rr-py-ws listen news",
        "rr-py-ws listen news 'user.42' --header 'Authorization: Bearer abc'",
        "rr-py-ws listen news --url wss://example.com/ws --header 'Origin: https://example.com'",
        "rr-py-ws listen news --raw | jq .payload",
    ],
)
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True)
@click.option(
    "--url",
    metavar="URL",
    help="The server, ws://host:port/path or wss://. [default: from the configuration]",
)
@click.option(
    "--header",
    "headers",
    metavar="NAME:VALUE",
    multiple=True,
    help="Send a header with the handshake. Repeatable.",
)
@click.option("--raw", is_flag=True, help="Print the server's messages as they are, without joining texts.")
@click.pass_obj
def listen(
    flags: Flags, topics: tuple[str, ...], url: str | None, headers: tuple[str, ...], raw: bool
) -> None:
    """Join topics as a browser does, and print what arrives.

    One line for each message: the topic, a tab, the payload; control characters are shown as escapes. It ends
    with Ctrl-C (exit code 0), when the server refuses, or when the connection is lost (exit code 1).
    """
    parsed = [_parse_header(header) for header in headers]
    run_until_signal(flags, _listen(url or listen_url(flags.load_config()), topics, parsed, raw))


def listen_url(config: Config) -> str:
    """Return the URL at which this configuration's server is reached from this machine.

    Raises:
        ConfigError: the configuration has no address for browsers.
    """
    if config.websockets is None:
        raise ConfigError("websockets", "the section is missing; name the server with --url")
    http = config.http
    if plain := config.websockets.address or (http.address if http else ""):
        scheme, address = "ws", parse_host_port(plain)
    elif http and http.ssl:
        # The name of the certificate will rarely be that of this machine; --url names the right one.
        scheme, address = "wss", parse_host_port(http.ssl.address)
    else:
        raise ConfigError("http.address", "no address to listen on; name the server with --url")
    host = _LOOPBACK.get(address.host, address.host)
    return f"{scheme}://{TCPAddress(host, address.port)}{config.websockets.path}"


def _parse_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise click.BadParameter(f"{text!r} is not NAME:VALUE", param_hint="'--header'")
    # A line end in a value would begin another header.
    if not value.isprintable():
        raise click.BadParameter(f"{text!r} has a control character", param_hint="'--header'")
    return name, value


async def _listen(url: str, topics: tuple[str, ...], headers: list[tuple[str, str]], raw: bool) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

    try:
        connection = await connect(
            url,
            additional_headers=headers,
            max_size=None,  # messages of one's own server may be as large as PHP makes them
            close_timeout=_CLOSE_TIMEOUT,
            proxy=_proxy(url),
        )
    except InvalidStatus as error:
        body = bytes(error.response.body or b"")[:_MAX_REFUSAL].decode("utf-8", "backslashreplace").strip()
        answer = f"HTTP status {error.response.status_code}{f', {body}' if body else ''}"
        raise RRWSError(f"{url} refuses the connection: {answer}") from error
    except ConnectionRefusedError as error:
        raise RRWSError(f"cannot connect to {url}: connection refused") from error
    except (OSError, WebSocketException, TimeoutError, ValueError) as error:
        raise RRWSError(f"cannot connect to {url}: {error or type(error).__name__}") from error
    try:
        with suppress(ConnectionClosed):
            await connection.send(json.dumps({"command": "join", "topics": topics}))
            async for message in connection:
                _show(message, raw)
    finally:
        await connection.close()
    reason = f" {connection.close_reason}" if connection.close_reason else ""
    raise RRWSError(f"the connection to {url} is lost (close code {connection.close_code}{reason})")


def _proxy(url: str) -> Literal[True] | None:
    """Choose the proxy: that of the environment (True), or none for addresses of this machine."""
    host = urlsplit(url).hostname or ""
    # A proxy would look for the server on its own machine.
    return None if host in ("localhost", "::1") or host.startswith("127.") else True


def _show(message: str | bytes, raw: bool) -> None:
    """Print a push, or the answer to the join.

    Raises:
        RRWSError: the join was refused.
    """
    text = message if isinstance(message, str) else message.decode("utf-8", "backslashreplace")
    topic, payload = _parse(text)
    # The payload of an answer is a list of topics. Pushes have a text; their topic may be `@join` as well.
    if topic == "#join" and not isinstance(payload, str):
        raise RRWSError(f"the server refuses to join {_names(payload)}")
    if topic == "@join" and not isinstance(payload, str):
        click.echo(f"joined {escape(_names(payload))}, Ctrl-C ends", err=True)
    elif raw or topic is None:
        click.echo(text if raw else escape(text))
    else:
        click.echo(f"{escape(topic)}\t{escape(str(payload))}")


def _parse(text: str) -> tuple[str | None, Any]:
    """Return topic and payload of a message; None for the topic when it is not a message of this server."""
    try:
        message = json.loads(text)
    # RecursionError: thousands of brackets; the server is whoever --url names.
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(message, dict) or not isinstance(message.get("topic"), str):
        return None, None
    return message["topic"], message.get("payload")


def _names(payload: Any) -> str:
    return ", ".join(map(str, payload)) if isinstance(payload, list) else str(payload)
