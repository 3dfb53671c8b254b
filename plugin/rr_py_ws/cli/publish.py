"""`rr-py-ws publish`."""

from __future__ import annotations

import base64
import os

import click

from rr_py_ws.cli.console import connect_rpc, run
from rr_py_ws.cli.flags import Command, Flags
from rr_py_ws.errors import RRWSError

_TIMEOUT = 30.0


@click.command(
    cls=Command,
    examples=[
        "rr-py-ws publish news 'hello world'",
        """rr-py-ws publish user.42 '{"event":"paid"}' '{"event":"shipped"}'""",
        "rr-py-ws publish news hello --broker replica --async",
    ],
)
@click.argument("topic")
@click.argument("payloads", metavar="PAYLOAD...", nargs=-1, required=True)
@click.option("--async", "unconfirmed", is_flag=True, help="Do not wait for the broker to accept.")
@click.option(
    "--broker", metavar="NAME", default="", help="A section under broadcast. [default: websockets.broker]"
)
@click.pass_obj
def publish(flags: Flags, topic: str, payloads: tuple[str, ...], unconfirmed: bool, broker: str) -> None:
    """Publish messages to a topic, as PHP does.

    Each PAYLOAD is one message; they are delivered in this order. Returns when the broker has accepted them;
    it is not known who received them.
    """
    for name, text in (("TOPIC", topic), ("--broker", broker)):
        if not text.isascii() and "\ufffd" in os.fsencode(text).decode("utf-8", "replace"):
            raise click.BadParameter("not UTF-8", param_hint=f"'{name}'")
    messages: list[dict[str, object]] = [
        {"broker": broker, "topics": [topic], "payload": base64.b64encode(os.fsencode(payload)).decode()}
        for payload in payloads
    ]
    # Only the older of the two schemas has a broker.
    method = f"{'websockets' if broker else 'broadcast'}.Publish{'Async' if unconfirmed else ''}"
    run(flags, _publish(flags, method, messages))
    if not flags.silent:
        click.echo(f"published {len(messages)} message{'s'[: len(messages) != 1]} to {topic}")


async def _publish(flags: Flags, method: str, messages: list[dict[str, object]]) -> None:
    async with await connect_rpc(flags) as rpc:
        answer = await rpc.call_json(method, {"messages": messages}, timeout=_TIMEOUT)
    if not isinstance(answer, dict) or answer.get("ok") is not True:
        raise RRWSError(f"{method}: the server did not accept the messages")
