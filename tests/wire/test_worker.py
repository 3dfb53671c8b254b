from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import SoftJobError, WorkerDied
from rr_py_ws.wire.goridge import STREAM, Flag, Frame, FrameDecoder
from rr_py_ws.wire.worker import (
    STOP,
    Message,
    decode_control,
    decode_message,
    encode_error,
    encode_message,
    encode_pid,
    encode_pid_reply,
)
from support.goridge_frames import FRAMES


def frame_of(data: bytes) -> Frame:
    decoder = FrameDecoder()
    decoder.receive_data(data)
    frame = decoder.next_frame()
    assert frame is not None
    return frame


class TestWorkedFrames:
    """What RoadRunner and PHP's worker package exchanged, byte for byte."""

    def test_the_server_greets_with_its_pid(self) -> None:
        assert encode_pid(4242) == FRAMES["pid_to_worker"][0]

    def test_a_worker_answers_with_its_own(self) -> None:
        assert encode_pid_reply(8128) == FRAMES["pid_from_worker"][0]
        assert decode_control(FRAMES["pid_from_worker"][1]) == 8128

    def test_the_stop_command(self) -> None:
        assert FRAMES["stop_worker"][0] == STOP

    @pytest.mark.parametrize("name", ["stop_worker", "stop_worker_old"])
    def test_a_worker_understands_both_stop_commands(self, name: str) -> None:
        assert decode_control(FRAMES[name][1]) is None

    @pytest.mark.parametrize("name", ["pid_to_worker", "pid_to_worker_old"])
    def test_a_worker_understands_both_greetings(self, name: str) -> None:
        assert decode_control(FRAMES[name][1]) == 4242

    def test_a_question_is_split_at_its_option(self) -> None:
        assert decode_message(FRAMES["exec"][1]) == Message(b'{"c":1}', b"hi")

    def test_an_answer(self) -> None:
        answer = Message(b"ctx", b"body:hi")
        assert decode_message(FRAMES["worker_reply"][1]) == answer
        assert encode_message(answer) == FRAMES["worker_reply"][0]

    def test_an_error_answer(self) -> None:
        assert encode_error("some error text") == FRAMES["worker_error"][0]
        with pytest.raises(SoftJobError, match=r"^some error text$"):
            decode_message(FRAMES["worker_error"][1])

    def test_a_worker_asks_to_be_restarted(self) -> None:
        assert decode_message(FRAMES["restart_me"][1]).asks_for_restart
        assert encode_message(Message(b'{"stop":true}')) == FRAMES["restart_me"][0]


def test_a_question_has_no_codec_and_one_option() -> None:
    frame = frame_of(encode_message(Message(b'{"c":1}')))
    assert (frame.flags, frame.options, frame.payload) == (0, (7,), b'{"c":1}')


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_message_survives_the_way(context: bytes, body: bytes) -> None:
    assert decode_message(frame_of(encode_message(Message(context, body)))) == Message(context, body)


@pytest.mark.parametrize("flags", [0, Flag.RAW, Flag.JSON, Flag.PROTO])
def test_the_codec_of_an_answer_does_not_matter(flags: int) -> None:
    assert decode_message(Frame(flags, (2,), b"{}body")) == Message(b"{}", b"body")


@pytest.mark.parametrize(
    "message", [Message(b'{"stop":true}', b"x"), Message(b'{"stop": true}'), Message(b"", b'{"stop":true}')]
)
def test_only_the_exact_words_ask_for_a_restart(message: Message) -> None:
    assert not message.asks_for_restart


@pytest.mark.parametrize(
    "frame",
    [
        Frame(0, (), b"{}"),
        Frame(0, (1, 1), b"{}"),
        Frame(0, (3,), b"{}"),
        Frame(0, (2**32 - 1,), b""),
        Frame(Flag.CONTROL, (2,), b"{}"),
        Frame(0, (2,), b"{}", STREAM),
    ],
    ids=["no option", "two options", "option too large", "option far too large", "control", "streamed"],
)
def test_what_is_no_answer_ends_the_worker(frame: Frame) -> None:
    with pytest.raises(WorkerDied):
        decode_message(frame)


def test_a_control_frame_that_is_large_is_not_decoded() -> None:
    frame = Frame(Flag.CONTROL, (), b'{"pid":1,"x":[%b0]}' % (b"0," * 4000))
    with pytest.raises(WorkerDied, match="a control frame has 8017 bytes"):
        decode_control(frame)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(0, (), b'{"pid":1}'),
        Frame(Flag.CONTROL, (), b""),
        Frame(Flag.CONTROL, (), b"pid"),
        Frame(Flag.CONTROL, (), b"[1]"),
        Frame(Flag.CONTROL, (), b"null"),
        Frame(Flag.CONTROL, (), b"{}"),
        Frame(Flag.CONTROL, (), b'{"pid":0}'),
        Frame(Flag.CONTROL, (), b'{"pid":-5}'),
        Frame(Flag.CONTROL, (), b'{"pid":true}'),
        Frame(Flag.CONTROL, (), b'{"pid":"7"}'),
        Frame(Flag.CONTROL, (), b'{"pid":7.0}'),
        Frame(Flag.CONTROL, (), b'{"stop":false}'),
    ],
)
def test_what_is_no_control_frame_ends_the_worker(frame: Frame) -> None:
    with pytest.raises(WorkerDied):
        decode_control(frame)


@given(
    st.builds(
        Frame, st.integers(0, 255), st.tuples(st.integers(0, 300)), st.binary(max_size=50), st.integers(0, 15)
    )
)
def test_any_frame_gives_a_result_or_the_documented_errors(frame: Frame) -> None:
    for decode in (decode_control, decode_message):
        try:
            decode(frame)
        except (WorkerDied, SoftJobError) as error:
            assert "\n" not in str(error)


def test_the_text_of_an_error_answer_is_one_line_of_limited_length() -> None:
    with pytest.raises(SoftJobError, match=r"^RuntimeException: no #0 index\.php$"):
        decode_message(Frame(Flag.ERROR, (), b"RuntimeException: no\n\n  #0 index.php\n"))
    with pytest.raises(SoftJobError) as caught:
        decode_message(Frame(Flag.ERROR, (), b"x" * 1_000_000))
    assert len(str(caught.value)) < 5000


def test_an_error_answer_without_text_still_says_something() -> None:
    with pytest.raises(SoftJobError, match="without a text"):
        decode_message(Frame(Flag.ERROR, (), b""))


def test_an_error_answer_in_another_encoding_can_be_read() -> None:
    with pytest.raises(SoftJobError, match="�"):
        decode_message(Frame(Flag.ERROR, (), b"\xe4rger"))
