"""Every message survives encoding and decoding, and malformed bytes are refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammars.constraint import Constraint, GbnfGrammar, LazyConstraint, LLGuidanceGrammar
from protocol.blocks import BlocksCleared, BlocksRemoved, BlocksStored, Medium
from protocol.codec import Codec, Frames
from protocol.commands import Abort, Command, Inspect, Load, Shutdown
from protocol.config import EngineConfig
from protocol.events import (
    Event,
    Finished,
    FinishReason,
    Generated,
    Prefilled,
    Scored,
    Started,
    TokenLogprobs,
)
from protocol.messages import (
    BlockReport,
    BlocksChanged,
    Heartbeat,
    LoadFailed,
    Message,
    ModelInfo,
    Ready,
    SlotReport,
    SlotState,
    StepOutputs,
    StepStats,
)
from protocol.sampling import SamplingParams
from tests.support.requests import add_request

STATS = StepStats(0.1, 0.2, 0.3, 0.4, 0.5, 6, 7, 8, 9, 10)
MODEL = ModelInfo(
    n_ctx=1024,
    n_ctx_slot=256,
    n_slots=4,
    n_vocab=4096,
    n_params=10,
    size_bytes=20,
    description="a model",
    file_type="F16",
    system_info="",
    cell_bytes=64,
    can_trim=True,
)
EVENTS: list[Event] = [
    Started(1, 2, 3),
    Prefilled(1, 5),
    Scored(1, 1, [TokenLogprobs(-0.5, [(7, -0.5)]), TokenLogprobs(-1.5, [])]),
    Generated(1, [7], []),
    Generated(1, [7, 8], [TokenLogprobs(-0.5, [(7, -0.5), (8, -1.5)]), TokenLogprobs(-1.0, [])]),
    Finished(1, FinishReason.STOP),
    Finished(2, FinishReason.FAILED, "why"),
]


def test_a_full_submit_survives_the_wire() -> None:
    submit = add_request(
        request_id=7,
        prompt=[1, 2],
        sampling=SamplingParams(seed=2**32 - 1, logit_bias=((5, float("-inf")),), top_logprobs=3),
        resumed=[3],
        max_tokens=9,
        constraint=GbnfGrammar('root ::= "a"'),
        cache_prompt=False,
        lora=(("a", 0.5), ("b", -1.0)),
        cache_salt="salt",
        slot=1,
        tenant="someone",
        weight=2.0,
        priority=-1,
        report_progress=True,
    )
    assert _command(submit) == submit


@pytest.mark.parametrize(
    "constraint",
    [
        GbnfGrammar('root ::= "a"'),
        LLGuidanceGrammar("start: /a/"),
        LazyConstraint(LLGuidanceGrammar("start: /a/"), words=("<tool>",), tokens=(5,)),
    ],
    ids=lambda constraint: type(constraint).__name__,
)
def test_a_constraint_survives_the_wire(constraint: Constraint) -> None:
    submit = add_request(request_id=1, prompt=[1], sampling=SamplingParams(), constraint=constraint)
    assert _command(submit) == submit


@pytest.mark.parametrize(
    "command", [Load(EngineConfig(model_path="a")), Abort([1, 2]), Inspect(3), Shutdown()], ids=repr
)
def test_a_command_survives_the_wire(command: Command) -> None:
    assert _command(command) == command


@pytest.mark.parametrize(
    "message",
    [
        Ready(MODEL),
        LoadFailed("no such file"),
        Heartbeat(1.5),
        StepOutputs(1.0, 2.0, EVENTS, STATS),
        StepOutputs(1.0, 2.0, [], None),
        BlocksChanged(
            [
                BlocksCleared(),
                BlocksStored(Medium.GPU, [2**64 - 1], None, [1, 2], "salt", (("a", 0.5),)),
                BlocksRemoved(Medium.CPU, [7]),
            ]
        ),
        BlockReport(3, {Medium.GPU: [1], Medium.CPU: []}),
        SlotReport(3, [SlotState(slot=0, num_cache_tokens=4)], 5),
        SlotReport(4, [SlotState(slot=0, num_cache_tokens=4, request_id=1)], 0),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_survives_the_wire(message: Message) -> None:
    (frame,) = Frames().feed(bytes(Codec().frame(message)))
    assert Codec().decode_message(frame) == message


@given(st.binary(max_size=64))
@settings(deadline=None)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    codec = Codec()
    with pytest.raises(msgspec.MsgspecError):
        codec.decode_command(data)
    with pytest.raises(msgspec.MsgspecError):
        codec.decode_message(data)


def test_a_command_is_not_a_message() -> None:
    (frame,) = Frames().feed(bytes(Codec().frame(Abort([1]))))
    with pytest.raises(msgspec.ValidationError):
        Codec().decode_message(frame)


@given(st.lists(st.lists(st.integers(0, 2**31), max_size=50), max_size=5), st.data())
@settings(deadline=None)
def test_frames_are_found_however_the_stream_was_cut(
    aborts: list[list[int]], data: st.DataObject
) -> None:
    codec = Codec()
    commands = [Abort(ids) for ids in aborts]
    stream = b"".join(codec.frame(command) for command in commands)
    frames = Frames()
    received = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += frames.feed(stream[:size])
        stream = stream[size:]
    assert [codec.decode_command(frame) for frame in received] == commands


def _command(command: Command) -> Command:
    (frame,) = Frames().feed(bytes(Codec().frame(command)))
    return Codec().decode_command(frame)
