"""The engine's loop: read commands, do a step, send its outputs."""

from __future__ import annotations

import time

from protocol.commands import (
    Abort,
    AddRequest,
    Command,
    EndThinking,
    EraseSlot,
    Inspect,
    InspectBlocks,
    Load,
    RestoreSlot,
    SaveSlot,
    Shutdown,
)
from protocol.config import EngineConfig
from protocol.messages import AddingRequest, BlocksChanged, Heartbeat
from scheduler.engine.channel import CommandChannel
from scheduler.engine.engine import Engine

HEARTBEAT_SECONDS = 1.0
"""An idle engine says this often that it is alive."""

PREPARING_SECONDS = 0.001
"""An otherwise idle engine looks this often whether a constraint is compiled."""

FILES_SECONDS = 0.01
"""An otherwise idle engine looks this often whether a file is read or written."""


def first_config(channel: CommandChannel) -> EngineConfig:
    """Wait for `Load`. Raises `ChannelClosed`."""
    while True:
        for command in channel.receive(HEARTBEAT_SECONDS):
            if isinstance(command, Load):
                return command.config


def run(engine: Engine, channel: CommandChannel) -> None:
    """Serve commands until `Shutdown`; sleeps in `receive` while there is nothing to do.

    The outputs of a step go out while the next step computes, or at once if there is nothing more
    to do. Raises `ChannelClosed`.
    """
    send_seconds = 0.0
    while True:
        for command in channel.receive(_patience(engine)):
            if isinstance(command, Shutdown):
                channel.flush()
                return
            _dispatch(engine, channel, command)
        engine.admit_prepared()
        for reply in engine.take_replies():
            channel.send(reply)
        if engine.has_work and engine.seconds_until_batch_starts == 0:
            report = engine.step(channel.send, send_seconds, channel.send_kept)
            _tell_blocks(engine, channel)  # before an answer's end, after which more may be asked
            channel.keep(report.take, report.settle)
            send_seconds = time.monotonic() - report.end
        else:
            _tell_blocks(engine, channel)  # slot commands and files change them too
            if not (engine.has_work or engine.is_preparing):
                engine.rest()
                channel.send(Heartbeat(time.monotonic()))


def _tell_blocks(engine: Engine, channel: CommandChannel) -> None:
    """Send what became of the cache's blocks with the next message."""
    events = engine.take_block_events()
    if events:
        channel.keep(BlocksChanged(events))


def _patience(engine: Engine) -> float:
    """Seconds to wait for commands."""
    if engine.has_work:
        return engine.seconds_until_batch_starts
    if engine.is_preparing:
        return PREPARING_SECONDS
    return FILES_SECONDS if engine.awaits_files else HEARTBEAT_SECONDS


def _dispatch(engine: Engine, channel: CommandChannel, command: Command) -> None:
    match command:
        case AddRequest():
            channel.send(AddingRequest(command.request_id, engine.take_queued()))
            engine.add_request(command)
        case Abort():
            engine.abort(command)
        case EndThinking():
            channel.send(engine.end_thinking(command))
        case Inspect():
            channel.send(engine.inspect(command))
        case InspectBlocks():
            _tell_blocks(engine, channel)
            channel.send(engine.inspect_blocks(command))
        case SaveSlot() | RestoreSlot() | EraseSlot():
            engine.begin_slot_command(command)
