"""`rr-py-ws listen`: a WebSocket client that shows what browsers get."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import click

from rr_py_ws.address import TCPAddress, parse_host_port
from rr_py_ws.cli.console import escape, run_until_signal
from rr_py_ws.cli.flags import Command, Flags
from rr_py_ws.core.backoff import Backoff
from rr_py_ws.errors import ConfigError, RRWSError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from rr_py_ws.config import Config

_ID = "listen"
"""With an id, the server says why it refuses, and tells of gaps."""
_MAX_REFUSAL = 500
"""Bytes of the body of a refusal that are shown."""
_CLOSE_TIMEOUT = 1.0
_PAUSES = 0.5, 20.0
"""Seconds of the first pause, and of the longest, between two attempts to connect again."""
_TEMPORARY = (429, 502, 503, 504)
_FINAL_REFUSAL = re.compile(r"$|refused|more than|a topic")
"""How reasons begin of refusals that stay what they are; of others, the server could not decide now."""
_POLICY_VIOLATION = 1008
_FOR_GOOD = range(4500, 5000)
"""Close codes after which a client does not come back."""
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a listener on all addresses is reached from this machine."""


@click.command(
    cls=Command,
    examples=[
        "rr-py-ws listen news",
        "rr-py-ws listen news 'user.42' --header 'Authorization: Bearer abc'",
        "rr-py-ws listen news --url wss://example.com/ws --header 'Origin: https://example.com'",
        "rr-py-ws listen news --raw | jq .payload",
        "rr-py-ws listen news --recover",
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
@click.option(
    "--recover", is_flag=True, help="Connect again when the connection is lost, and get what was missed."
)
@click.pass_obj
def listen(
    flags: Flags,
    topics: tuple[str, ...],
    url: str | None,
    headers: tuple[str, ...],
    raw: bool,
    recover: bool,
) -> None:
    """Join topics as a browser does, and print what arrives.

    One line for each message: the topic, a tab, the payload; control characters are shown as escapes. It ends
    with Ctrl-C (exit code 0), when the server refuses, or when the connection is lost (exit code 1).

    With --recover it connects again instead, and what was missed of topics with a history follows. What
    cannot be recovered is told on stderr. A join that the server cannot decide about now is tried again, too.
    """
    parsed = [_parse_header(header) for header in headers]
    url = url or listen_url(flags.load_config())
    listener = _Listener(url, topics, parsed, raw=raw, recover=recover)
    run_until_signal(flags, listener.run())


def listen_url(config: Config) -> str:
    """Return the URL at which this configuration's server is reached from this machine.

    Raises:
        ConfigError: the configuration has no address for browsers.
    """
    if config.websockets is None:
        raise ConfigError("websockets", "the section is missing; name the server with --url")
    http = config.http
    plain = config.websockets.address or (http.address if http else "")
    tls = bool(http and http.ssl and (not plain or (http.ssl.redirect and not config.websockets.address)))
    if plain and not tls:
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


class _Listener:
    """A client that prints what it gets.

    Args:
        url: of the server.
        topics: that it joins.
        headers: of the handshake.
        raw: print messages as they are.
        recover: connect again, with positions.
    """

    def __init__(
        self,
        url: str,
        topics: tuple[str, ...],
        headers: list[tuple[str, str]],
        *,
        raw: bool,
        recover: bool,
    ) -> None:
        self._url = url
        self._topics = topics
        self._headers = headers
        self._raw = raw
        self._wishes: dict[str, str | bool] | None = dict.fromkeys(topics, True) if recover else None

    async def run(self) -> None:
        """Listen until it is cancelled.

        Raises:
            RRWSError: the server refuses; without `recover` also when it cannot be reached, or is lost.
        """
        connection = await self._connect()
        backoff = Backoff(*_PAUSES)
        while True:
            try:
                reason = await self._listen(connection)
                backoff.reset()
            except _Unreachable as error:
                reason = str(error)
            if self._wishes is None:
                raise RRWSError(reason)
            click.echo(escape(reason), err=True)
            while True:
                await asyncio.sleep(backoff.next_pause())
                try:
                    connection = await self._connect()
                    break
                except _Unreachable as error:
                    click.echo(escape(str(error)), err=True)

    async def _connect(self) -> ClientConnection:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus, WebSocketException

        url = self._url
        try:
            return await connect(
                url,
                additional_headers=self._headers,
                max_size=None,  # messages of one's own server may be as large as PHP makes them
                close_timeout=_CLOSE_TIMEOUT,
                proxy=_proxy(url),
            )
        except InvalidStatus as error:
            response = error.response
            body = bytes(response.body or b"")[:_MAX_REFUSAL].decode("utf-8", "backslashreplace").strip()
            answer = f"HTTP status {response.status_code}{f', {body}' if body else ''}"
            kind = _Unreachable if response.status_code in _TEMPORARY else RRWSError
            raise kind(f"{url} refuses the connection: {answer}") from error
        except ConnectionRefusedError as error:
            raise _Unreachable(f"cannot connect to {url}: connection refused") from error
        except (OSError, WebSocketException, TimeoutError, ValueError) as error:
            raise _Unreachable(f"cannot connect to {url}: {error or type(error).__name__}") from error

    async def _listen(self, connection: ClientConnection) -> str:
        """Print what arrives until the connection is lost; return how it was lost.

        Raises:
            RRWSError: the server refuses the join, or tells the client not to come back.
        """
        from websockets.exceptions import ConnectionClosed

        join: dict[str, object] = {"command": "join", "topics": self._topics, "id": _ID}
        if self._wishes is not None:
            join["history"] = self._wishes
        try:
            with suppress(ConnectionClosed):
                await connection.send(json.dumps(join))
                async for message in connection:
                    self._show(message)
        finally:
            await connection.close()
        code, reason = connection.close_code, connection.close_reason
        text = f"the connection to {self._url} is lost (close code {code}{f' {reason}' if reason else ''})"
        if code is not None and (code == _POLICY_VIOLATION or code in _FOR_GOOD):
            raise RRWSError(text)
        return text

    def _show(self, message: str | bytes) -> None:
        """Print a push, or the answer to the join.

        Raises:
            RRWSError: the join was refused; `_Unreachable` when that may pass.
        """
        text = message if isinstance(message, str) else message.decode("utf-8", "backslashreplace")
        parsed = _parse(text)
        topic, payload, reason = parsed.get("topic"), parsed.get("payload"), str(parsed.get("reason", ""))
        # The payload of an answer is a list of topics. A push has a text; its topic may be `@join` as well.
        if topic == "#join" and not isinstance(payload, str):
            kind = RRWSError if _FINAL_REFUSAL.match(reason) else _Unreachable
            raise kind(f"the server refuses to join {_names(payload)}{f': {reason}' if reason else ''}")
        if topic == "@join" and not isinstance(payload, str):
            click.echo(f"joined {escape(_names(payload))}, Ctrl-C ends", err=True)
            self._take_history(parsed.get("history"))
            return
        if topic == "#gap" and not isinstance(payload, str):
            click.echo(f"messages of {escape(_names(payload))} may be missing", err=True)
            return
        if self._wishes is not None and topic is not None and isinstance(pos := parsed.get("pos"), str):
            self._wishes[topic] = pos
        if self._raw or topic is None:
            click.echo(text if self._raw else escape(text))
        else:
            click.echo(f"{escape(topic)}\t{escape(str(payload))}")

    def _take_history(self, history: Any) -> None:
        """Note the positions of an answer, and tell of what is missing."""
        if self._wishes is None or not isinstance(history, dict):
            return
        for topic, answer in history.items():
            if not isinstance(answer, dict):
                continue
            if answer.get("recovered") is not True and self._wishes.get(topic) is not True:
                reason = escape(str(answer.get("reason", "")))
                click.echo(f"messages of {escape(topic)} are missing: {reason}", err=True)
            # An empty one is of no history: what is missed without a position is told with the next answer.
            self._wishes[topic] = pos if isinstance(pos := answer.get("pos"), str) else ""


class _Unreachable(RRWSError):
    """There is no connection, which may pass."""


def _proxy(url: str) -> Literal[True] | None:
    """Choose the proxy: that of the environment (True), or none for addresses of this machine."""
    host = urlsplit(url).hostname or ""
    # A proxy would look for the server on its own machine.
    return None if host in ("localhost", "::1") or host.startswith("127.") else True


def _parse(text: str) -> dict[str, Any]:
    """Return the parts of a message; of what is no message of this server there is no `topic`."""
    try:
        message = json.loads(text)
    # RecursionError: thousands of brackets; the server is whoever --url names.
    except (ValueError, RecursionError):
        return {}
    if not isinstance(message, dict) or not isinstance(message.get("topic"), str):
        return {}
    return message


def _names(payload: Any) -> str:
    return ", ".join(map(str, payload)) if isinstance(payload, list) else str(payload)
