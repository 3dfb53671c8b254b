"""Commands that speak to a running server of topics: `rr-py-ws publish` and `history`."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from rr_py_ws.cli.console import escape, run
from rr_py_ws.cli.flags import Command, Flags
from rr_py_ws.cli.rpc import TIMEOUT, connect
from rr_py_ws.errors import RRWSError

if TYPE_CHECKING:
    from rr_py_ws.config import Config

_PUBLISH_TIMEOUT = 30.0
_MOST = 2**32 - 1
"""As a limit: the largest number of `push.History`."""
_REASONS = {
    "off": "the topic {topic} has no history, see websockets.history",
    "epoch": "the position is not one of the history of {topic} as it is now",
    "ahead": "nothing has come to that position of {topic} yet",
    "trimmed": "messages after the position are not kept any more",
    "limit": "there is more; go on with --since and the last position",
}


@click.command(
    cls=Command,
    examples=[
        "rr-py-ws publish news 'hello world'",
        """rr-py-ws publish user.42 '{"event":"paid"}' '{"event":"shipped"}'""",
        "rr-py-ws publish news hello --broker replica --async",
        "rr-py-ws publish news 'deployed 1.2' --key deploy-1.2",
    ],
)
@click.argument("topic")
@click.argument("payloads", metavar="PAYLOAD...", nargs=-1, required=True)
@click.option("--async", "unconfirmed", is_flag=True, help="Do not wait for the broker to accept.")
@click.option(
    "--broker", metavar="NAME", default="", help="A section under broadcast. [default: websockets.broker]"
)
@click.option("--key", metavar="KEY", help="Publish once in five minutes under this key.")
@click.pass_obj
def publish(
    flags: Flags, topic: str, payloads: tuple[str, ...], unconfirmed: bool, broker: str, key: str | None
) -> None:
    """Publish messages to a topic, as PHP does.

    Each PAYLOAD is one message; they are delivered in this order. Returns when the broker has accepted them;
    it is not known who received them.
    """
    _check_texts(topic, ("--broker", broker), ("--key", key or ""))
    if key == "":  # such as of a variable that is not set
        raise click.BadParameter("found '', accepted: a text of 1 to 128 bytes", param_hint="'--key'")
    if key and (unconfirmed or len(payloads) > 1):
        raise click.BadParameter("accepted with one PAYLOAD and without --async", param_hint="'--key'")
    messages: list[dict[str, object]] = [
        {"broker": broker, "topics": [topic], "payload": base64.b64encode(os.fsencode(payload)).decode()}
        for payload in payloads
    ]
    # Only the older of the two message schemas, that of the service `websockets`, has a broker.
    method = f"{'websockets' if broker else 'broadcast'}.Publish{'Async' if unconfirmed else ''}"
    config = flags.load_config()
    _check_broker(config, broker)
    if key:
        told = run(flags, _publish_once(config, broker, {**messages[0], "idempotency_key": key}))
        if not flags.silent:
            click.echo(f"{told} to {topic}")
        return
    run(flags, _publish(config, method, messages))
    if not flags.silent:
        click.echo(f"published {len(messages)} message{'s'[: len(messages) != 1]} to {topic}")


def _check_texts(topic: str, *options: tuple[str, str]) -> None:
    """Refuse what the server would misunderstand."""
    if not topic:  # the server skips it, and says ok
        raise click.BadParameter("found '', accepted: the name of a topic", param_hint="'TOPIC'")
    for name, text in (("TOPIC", topic), *options):
        # Bytes of argv that are not UTF-8 arrive as surrogates, which protobuf and JSON cannot carry.
        if not text.isascii() and "\ufffd" in os.fsencode(text).decode("utf-8", "replace"):
            raise click.BadParameter("not UTF-8", param_hint=f"'{name}'")


def _check_broker(config: Config, broker: str) -> None:
    """Refuse a name that the server would take for the default broker's."""
    if broker and broker.lower() not in config.served_brokers:
        accepted = ", ".join(config.served_brokers) or "none, there is no section under broadcast"
        raise click.BadParameter(f"found {broker!r}, accepted: {accepted}", param_hint="'--broker'")


async def _publish_once(config: Config, broker: str, message: dict[str, object]) -> str:
    """Publish a message under a key; return what became of it, in words."""
    async with await connect(config) as rpc:
        answer = await rpc.call_json(
            "push.Publish", {"messages": [message], "broker": broker}, timeout=_PUBLISH_TIMEOUT
        )
    try:
        [published] = answer["published"]
        return "already published" if published["duplicate"] else "published 1 message"
    except (KeyError, TypeError, ValueError) as error:
        raise RRWSError("push.Publish: the answer is not understood") from error


@click.command(
    cls=Command,
    short_help="Show what is kept of a topic.",
    examples=[
        "rr-py-ws history news",
        "rr-py-ws history news --reverse --limit 1",
        "rr-py-ws history news --clear",
    ],
)
@click.argument("topic")
@click.option("--since", metavar="POSITION", default="", help="Only what came after this position.")
@click.option("--limit", metavar="N", type=click.IntRange(1, _MOST), help="At most so many messages.")
@click.option("--reverse", is_flag=True, help="Newest first.")
@click.option("--clear", is_flag=True, help="Drop what is kept.")
@click.option(
    "--broker", metavar="NAME", default="", help="A section under broadcast. [default: websockets.broker]"
)
@click.pass_obj
def history(
    flags: Flags, topic: str, since: str, limit: int | None, reverse: bool, clear: bool, broker: str
) -> None:
    """Show what the running server keeps of a topic, or drop it.

    One line for each message: position, time, payload, with tabs between; control characters are shown as
    escapes. Exit code 1 when the topic has no history, or the position is not one of it.
    """
    _check_texts(topic, ("--broker", broker), ("--since", since))
    config = flags.load_config()
    _check_broker(config, broker)
    query: dict[str, object] = {"topic": topic, "broker": broker}
    if clear:
        if not run(flags, _call_push(config, "ClearHistory", query)).get("position"):
            raise RRWSError(_REASONS["off"].format(topic=topic))
        return
    query |= {"since": since, "limit": limit or 0, "reverse": reverse}
    page = run(flags, _call_push(config, "History", query))
    try:
        for message in page["messages"]:
            time = datetime.fromtimestamp(message["time_ms"] / 1000, UTC).isoformat(timespec="milliseconds")
            payload = base64.b64decode(message["payload"]).decode("utf-8", "backslashreplace")
            click.echo(f"{message['position']}\t{time}\t{escape(payload)}")
        reason = str(page["reason"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RRWSError("push.History: the answer is not understood") from error
    if reason in ("off", "epoch", "ahead"):
        raise RRWSError(_REASONS[reason].format(topic=topic))
    if reason and not (reason == "limit" and limit):
        click.echo(_REASONS.get(reason, reason), err=True)


async def _call_push(config: Config, method: str, query: dict[str, object]) -> dict[str, Any]:
    async with await connect(config) as rpc:
        answer = await rpc.call_json(f"push.{method}", query, timeout=TIMEOUT)
    if not isinstance(answer, dict):
        raise RRWSError(f"push.{method}: the answer is not understood")
    return answer


async def _publish(config: Config, method: str, messages: list[dict[str, object]]) -> None:
    async with await connect(config) as rpc:
        answer = await rpc.call_json(method, {"messages": messages}, timeout=_PUBLISH_TIMEOUT)
    if not isinstance(answer, dict) or answer.get("ok") is not True:
        raise RRWSError(f"{method}: the server did not accept the messages")
