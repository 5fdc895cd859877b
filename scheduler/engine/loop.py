"""The engine's loop: inbox, step, outbox."""

from __future__ import annotations

import time

from protocol.commands import Abort, AddRequest, Command, Inspect, Load, Shutdown, SlotCommand
from protocol.config import EngineConfig
from protocol.messages import Heartbeat
from scheduler.engine.channel import CommandChannel
from scheduler.engine.engine import Engine

HEARTBEAT_SECONDS = 1.0


PREPARING_SECONDS = 0.001
"""How soon to look again whether a constraint is compiled, when there is nothing else to do."""


FILES_SECONDS = 0.01
"""The same for files that are read or written."""


def first_config(channel: CommandChannel) -> EngineConfig:
    """Wait for `Load`. Raises `ChannelClosed`."""
    while True:
        for command in channel.receive(HEARTBEAT_SECONDS):
            if isinstance(command, Load):
                return command.config


def run(engine: Engine, channel: CommandChannel) -> None:
    """The loop: inbox, step, outbox; asleep in the inbox while there is nothing to do."""
    engine.tell = channel.send
    while True:
        for command in channel.receive(_patience(engine)):
            if isinstance(command, Shutdown):
                return
            _dispatch(engine, channel, command)
        engine.admit_prepared()
        for reply in engine.replies():
            channel.send(reply)
        if engine.has_work and engine.seconds_until_batch_starts == 0:
            outputs = engine.step()
            channel.send(outputs)
            engine.last_send_seconds = time.monotonic() - outputs.end
        elif not (engine.has_work or engine.is_preparing):
            channel.send(Heartbeat(time.monotonic()))


def _patience(engine: Engine) -> float:
    """Seconds to wait for commands."""
    if engine.has_work:
        return engine.seconds_until_batch_starts
    if engine.is_preparing:
        return PREPARING_SECONDS
    return FILES_SECONDS if engine.awaits_files else HEARTBEAT_SECONDS


def _dispatch(engine: Engine, channel: CommandChannel, command: Command) -> None:
    if isinstance(command, AddRequest):
        engine.add_request(command)
    elif isinstance(command, Abort):
        engine.abort(command)
    elif isinstance(command, Inspect):
        channel.send(engine.inspect(command))
    elif isinstance(command, SlotCommand):
        engine.act(command)
