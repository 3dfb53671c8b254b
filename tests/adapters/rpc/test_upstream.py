"""The numbers of calls on the connection to RoadRunner, whatever publishers choose."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.adapters.rpc.metrics import ForwardMetrics
from rr_py_ws.adapters.rpc.turns import CallTurns
from rr_py_ws.adapters.rpc.upstream import Upstream
from rr_py_ws.wire.goridge import Frame, FrameDecoder, encode_frame
from support.waiting import eventually

LAST = 2**32 - 1
number = st.one_of(st.integers(0, 3), st.integers(LAST - 3, LAST), st.integers(0, LAST))
call = st.tuples(number, st.integers(0, 255), st.binary(max_size=8), st.integers(0, 255))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("call"), call),
        st.tuples(
            st.just("answer"), st.tuples(st.integers(0, 1000), st.integers(0, 255), st.integers(1, 40))
        ),
    ),
    max_size=60,
)


class Wire(asyncio.Transport):
    """Takes the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = FrameDecoder()
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.decoder.receive_data(bytes(data))

    def frames(self) -> list[Frame]:
        frames = []
        while (frame := self.decoder.next_frame()) is not None:
            frames.append(frame)
        return frames

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        """Nothing is read from a wire of a test."""

    resume_reading = pause_reading


@given(first=st.one_of(st.just(0), st.integers(LAST - 20, LAST)), steps=steps)
def test_each_answer_goes_to_its_call(first: int, steps: list[tuple[str, tuple[int, ...]]]) -> None:
    """In flight no number is there twice, also where they begin again; everything else is kept."""

    async def run() -> None:
        wire, counters = Wire(), ForwardMetrics()
        upstream = Upstream("it", CallTurns(), 1 << 20, 30.0, counters)
        upstream.connection_made(wire)
        upstream._number = first
        flying: dict[int, tuple[int, Frame, list[bytes | Exception]]] = {}
        for kind, values in steps:
            if kind == "call":
                sequence, flags, payload, stream = values
                frame = Frame(flags, (sequence, 0), payload, stream)  # type: ignore[arg-type]
                answers: list[bytes | Exception] = []
                upstream.send(frame, answers.append)
                await asyncio.sleep(0)
                [sent] = wire.frames()
                own, name_size = sent.options
                assert own not in flying
                assert sent._replace(options=(sequence, name_size)) == frame
                flying[own] = sequence, frame, answers
            elif flying:
                which, flags, chunk = values
                own = list(flying)[which % len(flying)]
                sequence, frame, answers = flying.pop(own)
                data = encode_frame(flags, (own, 0), frame.payload, frame.stream)
                for start in range(0, len(data), chunk):
                    upstream.data_received(data[start : start + chunk])
                assert answers == [encode_frame(flags, (sequence, 0), frame.payload, frame.stream)]
        assert upstream.running == len(flying)
        upstream.connection_lost(None)
        for _, _, answers in flying.values():
            assert [type(answer).__name__ for answer in answers] == ["RPCError"]
        assert counters.failed["lost"] == len(flying)
        assert await upstream.lost == "closed by RoadRunner"

    asyncio.run(run())


noise = st.one_of(
    st.binary(max_size=40),
    st.builds(
        encode_frame,
        st.integers(0, 255),
        st.lists(st.integers(0, 12), max_size=10).map(tuple),
        st.binary(max_size=20),
        st.integers(0, 255),
    ),
)


@given(chunks=st.lists(noise, max_size=12), cut=st.integers(1, 60))
def test_whatever_it_sends_each_call_is_answered_once(chunks: list[bytes], cut: int) -> None:
    """A frame, half of one, or no frame: nothing gets out of the connection but answers."""

    async def run() -> None:
        wire = Wire()
        upstream = Upstream("it", CallTurns(), 16, 30.0, ForwardMetrics())
        upstream.connection_made(wire)
        answers: list[list[bytes | Exception]] = [[] for _ in range(8)]
        for sequence, mine in enumerate(answers):
            upstream.send(Frame(8, (1000 + sequence, 0), b""), mine.append)
        data = b"".join(chunks)
        for start in range(0, len(data), cut):
            if not wire.aborted:
                upstream.data_received(data[start : start + cut])
        given = [mine[0] for mine in answers if mine]
        assert all(isinstance(answer, bytes) for answer in given)
        upstream.connection_lost(None)
        assert [len(mine) for mine in answers] == [1] * 8
        for sequence, [answer] in enumerate(answers):
            if isinstance(answer, bytes):
                decoder = FrameDecoder()
                decoder.receive_data(answer)
                frame = decoder.next_frame()
                assert frame is not None
                assert frame.options[0] == 1000 + sequence
                assert frame.options[1] <= len(frame.payload)

    asyncio.run(run())


async def test_a_mistake_of_one_caller_does_not_keep_the_end_from_the_others() -> None:
    """Nobody would have connected again, and the others would have waited for ever."""

    def fail(answer: bytes | Exception) -> None:
        raise RuntimeError("a mistake")

    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    upstream = Upstream("it", CallTurns(), 1 << 20, 30.0, ForwardMetrics())
    upstream.connection_made(Wire())
    answers: list[bytes | Exception] = []
    for give_back in fail, fail, answers.append:
        upstream.send(Frame(0, (7, 0), b""), give_back)
    upstream._waits = True  # for its turn, in which it would look at the first answer
    upstream.data_received(encode_frame(0, (1, 0), b""))
    with pytest.raises(RuntimeError, match="a mistake"):
        upstream.connection_lost(None)
    assert await upstream.lost == "closed by RoadRunner"
    await eventually(lambda: [type(answer).__name__ for answer in answers] == ["RPCError"])


async def test_a_number_that_is_still_in_use_is_passed_over() -> None:
    wire = Wire()
    upstream = Upstream("it", CallTurns(), 1 << 20, 30.0, ForwardMetrics())
    upstream.connection_made(wire)
    for _ in range(3):
        upstream.send(Frame(0, (7, 0), b""), lambda _: None)
    upstream._number = 0
    upstream.send(Frame(0, (7, 0), b""), lambda _: None)
    await asyncio.sleep(0)
    assert [frame.options[0] for frame in wire.frames()] == [1, 2, 3, 4]
