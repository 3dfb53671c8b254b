"""Asks PHP who may connect and join. Fails closed."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import NamedTuple

from rr_py_ws.adapters.net.withdrawable import Withdrawable, do_nothing
from rr_py_ws.core.fail_closed import fail_closed
from rr_py_ws.core.ports import Answer, Lane, QuestionPool
from rr_py_ws.errors import WorkerError, WorkersDown
from rr_py_ws.logs import get_limited
from rr_py_ws.wire.access import (
    connect_question,
    decode_answer,
    encode_request,
    join_question,
    pack_request,
    unpack_request,
)
from rr_py_ws.wire.http import Request
from rr_py_ws.wire.patterns import Patterns
from rr_py_ws.wire.verdict import ALLOWED, FAILED, Verdict, unanswered
from rr_py_ws.wire.worker import Message

_COMMA = Verdict(400, reason="a topic has a comma")

log = get_limited("websockets")

_HANDSHAKE_WAIT = 0.75
"""The part of its time in which a handshake may wait for a free worker. The rest is for the answer: under
overload everybody would otherwise get a worker when it is too late, and PHP would work for nobody."""

_MOST_ALIKE = 256
"""Patterns that each topic of a join may have to be compared with: the dearest join takes 50 ms."""


class _Allowance(NamedTuple):
    """The grant of a client that may join some topics without a question.

    Attributes:
        request: encoded, packed.
        allow: those topics.
    """

    request: bytes
    allow: Patterns


class PHPAuthorizer:
    """The `Authorizer` behind `authorize: php`. Its grant is the encoded request, packed, or an allowance.

    Args:
        pool: the workers to ask.
        timeout: seconds that a worker has for its answer; then it is killed. A handshake is decided in this
            time altogether, with the wait for a free worker, because browsers' libraries do not wait much
            longer. Both wait for a worker no longer than the pool's `allocate_timeout`, a join before its
            time begins.
        allow_commas: ask about topics with a comma, too.
    """

    def __init__(self, pool: QuestionPool, timeout: float, *, allow_commas: bool = False) -> None:
        self._pool = pool
        self.reload(timeout, allow_commas=allow_commas)

    def reload(self, timeout: float, *, allow_commas: bool) -> None:
        """Decide from now on by other keys."""
        self._timeout = timeout
        self._allow_commas = allow_commas

    def connect(self, request: Request) -> Awaitable[Verdict]:
        """Decide about a handshake, in at most `timeout` seconds."""
        head = request.head
        scheme = "https" if request.secure else "http"
        encoded = encode_request(
            remote_addr=request.remote_addr,
            protocol=f"HTTP/{head.version}",
            method=head.method,
            uri=f"{scheme}://{head.host}{head.target}",
            headers=head.headers,
            raw_query=head.query,
        )
        question, grant = Message(connect_question(encoded)), pack_request(encoded)
        del encoded  # it may be large, and thousands may wait
        wait = min(self._pool.allocate_timeout, _HANDSHAKE_WAIT * self._timeout)
        return self._decide("handshake", question, grant, Lane.HANDSHAKES, wait, self._timeout)

    def join(self, grant: object, topics: Sequence[str]) -> Verdict | Awaitable[Verdict]:
        """Decide about a join, all topics or none, in at most `allocate_timeout` and `timeout` seconds.

        PHP is not asked when it has allowed all of them with the handshake.

        PHP gets the topics as one text with commas (RoadRunner's form), so a topic with a comma is refused:
        PHP would allow two others, and the client would join a third. Unless the application knows.
        """
        if isinstance(grant, _Allowance):
            if topics and all(map(grant.allow.fits, topics)):
                return ALLOWED
            grant = grant.request
        assert isinstance(grant, bytes)
        if not self._allow_commas and any("," in topic for topic in topics):
            log.info("join refused: a topic has a comma, which PHP could not tell from two topics")
            refusal = Withdrawable[Verdict]()
            refusal.set_result(_COMMA)
            return refusal
        request = unpack_request(grant)
        question = Message(join_question(request, topics) if topics else connect_question(request))
        wait = self._pool.allocate_timeout
        return self._decide("join", question, None, Lane.JOINS, wait, wait + self._timeout)

    def _decide(
        self, what: str, question: Message, grant: bytes | None, lane: Lane, wait: float, within: float
    ) -> Awaitable[Verdict]:
        """Ask a worker. To cancel what is returned withdraws the question.

        Args:
            what: for the log.
            question: the encoded request with the attribute that asks.
            grant: what an allowing verdict carries.
            lane: where to wait for a worker.
            wait: seconds to wait for one.
            within: seconds for everything.
        """
        decision = Withdrawable[Verdict]()

        def on_answer(answer: Answer) -> None:
            decision.withdraw = do_nothing  # it leads back here
            if not decision.done():
                decision.set_result(_verdict(what, answer, grant, within))

        try:
            withdraw = self._pool.ask(question, on_answer, self._timeout, lane=lane, wait=wait, within=within)
        # A fault of ours must refuse, never let in.
        except Exception as error:
            decision.set_result(fail_closed(error))
        else:
            if not decision.done():
                decision.withdraw = withdraw
        return decision


def _patterns(allow: Sequence[str]) -> Patterns:
    patterns = Patterns(allow)
    if patterns.most_alike > _MOST_ALIKE:
        raise WorkerError(
            f"the answer allows {patterns.most_alike} patterns that are alike up to the star, "
            f"{_MOST_ALIKE} are possible"
        )
    return patterns


def _verdict(what: str, answer: Answer, grant: bytes | None, within: float) -> Verdict:
    """Return what an answer of a worker means; whatever is wrong with it, a refusal."""
    try:
        if isinstance(answer, Message):
            verdict = decode_answer(answer.context, answer.body, grant)
            if grant is not None and verdict.details.allow:
                return replace(verdict, grant=_Allowance(grant, _patterns(verdict.details.allow)))
            return verdict
        raise answer
    except TimeoutError:
        log.warning(f"{what} refused: PHP gave no answer in time", timeout=within)
    except WorkersDown as error:  # the log has told when that began
        return unanswered(str(error))
    except WorkerError as error:
        log.warning(f"{what} refused: PHP gave no answer", reason=error)
    # A fault of ours must refuse, never let in.
    except Exception as error:
        return fail_closed(error)
    return FAILED
