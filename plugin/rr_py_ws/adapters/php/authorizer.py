"""Asks PHP who may connect and join. Fails closed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rr_py_ws.adapters.php.pool import WorkerPool
from rr_py_ws.errors import WorkerError
from rr_py_ws.logs import get_limited
from rr_py_ws.wire.access import FAILED, AccessRequest, Verdict, decode_answer
from rr_py_ws.wire.worker import Message

_COMMA = Verdict(400, reason="a topic has a comma")

log = get_limited("websockets")


class PHPAuthorizer:
    """The `Authorizer` behind `authorize: php`.

    Args:
        pool: the workers to ask.
        timeout: seconds that a worker has for its answer; then it is killed. A handshake is decided in this
            time altogether, with the wait for a free worker, because browsers' libraries do not wait much
            longer.
        allow_commas: ask about topics with a comma, too.
    """

    reads_requests = True

    def __init__(self, pool: WorkerPool, timeout: float, *, allow_commas: bool = False) -> None:
        self._pool = pool
        self._timeout = timeout
        self._allow_commas = allow_commas

    async def connect(self, request: AccessRequest) -> Verdict:
        """Decide about a handshake, in at most `timeout` seconds."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ask(request.context({"ws:joinServer": True}))
        except TimeoutError:
            log.warning("handshake refused: PHP gave no answer in time", timeout=self._timeout)
        except WorkerError as error:
            log.warning("handshake refused: PHP gave no answer", reason=error)
        return FAILED

    async def join(self, request: AccessRequest, topics: Sequence[str]) -> Verdict:
        """Decide about a join, all topics or none.

        PHP gets the topics as one text with commas (RoadRunner's form), so a topic with a comma is refused:
        PHP would allow two others, and the client would join a third. Unless the application knows.
        """
        if not self._allow_commas and any("," in topic for topic in topics):
            log.info("join refused: a topic has a comma, which PHP could not tell from two topics")
            return _COMMA
        try:
            return await self._ask(request.context({"ws:joinTopics": ",".join(topics)}))
        except WorkerError as error:
            log.warning("join refused: PHP gave no answer", reason=error)
            return FAILED

    async def _ask(self, context: bytes) -> Verdict:
        answer = await self._pool.exec(Message(context), self._timeout)
        return decode_answer(answer.context, answer.body)
