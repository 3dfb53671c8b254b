"""Asks PHP who may connect and join. Fails closed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rr_py_ws.adapters.php.idle_workers import Lane
from rr_py_ws.adapters.php.pool import WorkerPool
from rr_py_ws.errors import WorkerError, WorkersDown
from rr_py_ws.logs import get_limited
from rr_py_ws.wire.access import FAILED, AccessRequest, Verdict, decode_answer, unanswered
from rr_py_ws.wire.worker import Message

_COMMA = Verdict(400, reason="a topic has a comma")

log = get_limited("websockets")

_WAIT_OF_HANDSHAKES = 0.75
"""The part of its time in which a handshake may wait for a free worker. The rest is for the answer: under
overload everybody would otherwise get a worker when it is too late, and PHP would work for nobody."""


class PHPAuthorizer:
    """The `Authorizer` behind `authorize: php`.

    Args:
        pool: the workers to ask.
        timeout: seconds that a worker has for its answer; then it is killed. A handshake is decided in this
            time altogether, with the wait for a free worker, because browsers' libraries do not wait much
            longer. A join may wait for a worker for `allocate_timeout` before.
        allow_commas: ask about topics with a comma, too.
    """

    reads_requests = True

    def __init__(self, pool: WorkerPool, timeout: float, *, allow_commas: bool = False) -> None:
        self._pool = pool
        self._timeout = timeout
        self._allow_commas = allow_commas

    async def connect(self, request: AccessRequest) -> Verdict:
        """Decide about a handshake, in at most `timeout` seconds."""
        context = request.context({"ws:joinServer": True})
        wait, limit = _WAIT_OF_HANDSHAKES * self._timeout, self._timeout
        return await self._decide("handshake", context, Lane.HANDSHAKES, wait, limit)

    async def join(self, request: AccessRequest, topics: Sequence[str]) -> Verdict:
        """Decide about a join, all topics or none, in at most `allocate_timeout` and `timeout` seconds.

        PHP gets the topics as one text with commas (RoadRunner's form), so a topic with a comma is refused:
        PHP would allow two others, and the client would join a third. Unless the application knows.
        """
        if not self._allow_commas and any("," in topic for topic in topics):
            log.info("join refused: a topic has a comma, which PHP could not tell from two topics")
            return _COMMA
        context = request.context({"ws:joinTopics": ",".join(topics)} if topics else {"ws:joinServer": True})
        wait, limit = self._pool.allocate_timeout, self._pool.allocate_timeout + self._timeout
        return await self._decide("join", context, Lane.JOINS, wait, limit)

    async def _decide(self, what: str, context: bytes, lane: Lane, wait: float, limit: float) -> Verdict:
        """Ask a worker.

        Args:
            what: for the log.
            context: the question.
            lane: where to wait for a worker.
            wait: seconds to wait for one.
            limit: seconds for everything.
        """
        try:
            async with asyncio.timeout(limit):
                answer = await self._pool.exec(Message(context), self._timeout, lane=lane, wait=wait)
                return decode_answer(answer.context, answer.body)
        except TimeoutError:
            log.warning(f"{what} refused: PHP gave no answer in time", timeout=limit)
        except WorkersDown as error:  # the log has told when that began
            return unanswered(str(error))
        except WorkerError as error:
            log.warning(f"{what} refused: PHP gave no answer", reason=error)
        return FAILED
