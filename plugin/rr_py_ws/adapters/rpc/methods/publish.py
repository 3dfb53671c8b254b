"""RPC services `broadcast` and `websockets`: Publish and PublishAsync."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.registry import Handler
from rr_py_ws.core.ports import Publisher
from rr_py_ws.errors import BrokerError, RPCError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.publish import Message, encode_ok

_limited = logs.get_limited("broadcast")

Run = Callable[[Awaitable[Any], Callable[[asyncio.Future[Any]], object]], None]


class Publishing:
    """One of the two services.

    Each message goes to each of its topics once, in order; empty topics are skipped.

    Args:
        publisher: takes the messages.
        decode: the schema, `decode_broadcast` or `decode_websockets`.
        run: lets what PublishAsync began go on by itself (`Services.run`).
    """

    def __init__(
        self, publisher: Publisher, decode: Callable[[Flag, bytes], list[Message]], run: Run
    ) -> None:
        self._publisher = publisher
        self._decode = decode
        self._run = run

    def methods(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {"Publish": self.publish, "PublishAsync": self.publish_async}

    def publish(self, codec: Flag, body: bytes) -> bytes | Awaitable[bytes]:
        """Publish, and answer when the brokers have accepted everything.

        All messages are handed over before the first is waited for, so that pipelined calls keep their order.

        Raises (now, or from the awaitable):
            RPCError: the body cannot be decoded, or a broker refused; what was accepted stays published.
        """
        publish = self._publisher.publish
        later: list[Awaitable[None]] = []
        try:
            for broker, topics, payload in self._decode(codec, body):
                if "" in topics:
                    topics = _without_empty(topics)
                waiting = publish(broker, topics, payload)
                if waiting is not None:
                    later.append(waiting)
        except BrokerError as error:
            if not later:
                raise _refused(error) from error
            return _answer_later(codec, later, error)
        return _answer_later(codec, later) if later else encode_ok(codec)

    def publish_async(self, codec: Flag, body: bytes) -> bytes:
        """Publish, and answer at once; a topic that a broker refuses is logged and does not stop the rest.

        Raises:
            RPCError: the body cannot be decoded.
        """
        for broker, topics, payload in self._decode(codec, body):
            for topic in _without_empty(topics):
                try:
                    waiting = self._publisher.publish(broker, (topic,), payload)
                except BrokerError as error:
                    _limited.error("async publish failed", error=str(error))
                else:
                    if waiting is not None:
                        self._run(waiting, _log_failure)
        return encode_ok(codec)


def _answer_later(
    codec: Flag, later: Sequence[Awaitable[None]], refusal: BrokerError | None = None
) -> Awaitable[bytes]:
    if len(later) == 1 and isinstance(later[0], asyncio.Future) and refusal is None:
        return _answer_one(codec, later[0])
    return _answer_all(codec, later, refusal)


def _answer_one(codec: Flag, accepted: asyncio.Future[None]) -> asyncio.Future[bytes]:
    """Answer the usual call, one message to one topic; a task would cost more than the rest."""
    answer: asyncio.Future[bytes] = accepted.get_loop().create_future()

    def settle(accepted: asyncio.Future[None]) -> None:
        if answer.done() or accepted.cancelled():
            answer.cancel()
            return
        error = accepted.exception()
        if error is None:
            answer.set_result(encode_ok(codec))
        else:
            answer.set_exception(_refused(error) if isinstance(error, BrokerError) else error)

    accepted.add_done_callback(settle)
    return answer


async def _answer_all(codec: Flag, later: Sequence[Awaitable[None]], refusal: BrokerError | None) -> bytes:
    for error in (*await asyncio.gather(*later, return_exceptions=True), refusal):
        if isinstance(error, BrokerError):
            raise _refused(error) from error
        if error is not None:
            raise error
    return encode_ok(codec)


def _without_empty(topics: Sequence[str]) -> Sequence[str]:
    if "" not in topics:
        return topics
    _limited.warning("message with empty topic, skipping")
    return [topic for topic in topics if topic]


def _refused(error: BrokerError) -> RPCError:
    return RPCError(f"broadcast_publish:\n\tbroadcast_plugin_publish: {error}")


def _log_failure(done: asyncio.Future[Any]) -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        _limited.error("async publish failed", error=str(error) or type(error).__name__)
