"""`python -m scheduler ENDPOINT`: the engine process, started by the API process.

The first line of standard input is the `EngineConfig` as JSON. When standard input ends the API
process is gone, and this one ends too.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time

import msgspec

from scheduler.engine import Engine
from scheduler.protocol import (
    Abort,
    Command,
    EngineConfig,
    Heartbeat,
    Inspect,
    LoadFailed,
    Ready,
    Shutdown,
    Submit,
)
from scheduler.transport import CommandChannel

HEARTBEAT_SECONDS = 1.0

logger = logging.getLogger("scheduler")


def main(argv: list[str]) -> int:
    """Load, report, and run until told to stop."""
    config = msgspec.json.decode(sys.stdin.buffer.readline(), type=EngineConfig)
    _set_up_logging(config)
    # Ctrl-C reaches the whole process group; the API process decides when the engine stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    channel = CommandChannel(argv[1])
    try:
        engine = _load(config, channel)
        if engine is None:
            return 1
        run(engine, channel)
        engine.close()
    finally:
        channel.close()
    return 0


def run(engine: Engine, channel: CommandChannel) -> None:
    """The loop: inbox, step, outbox; asleep in the inbox while there is nothing to do."""
    while True:
        for command in channel.receive(0 if engine.has_work else HEARTBEAT_SECONDS):
            if isinstance(command, Shutdown):
                return
            _dispatch(engine, channel, command)
        if engine.has_work:
            outputs = engine.step()
            channel.send(outputs)
            engine.last_send_seconds = time.monotonic() - outputs.end
        else:
            channel.send(Heartbeat(time.monotonic()))


def _dispatch(engine: Engine, channel: CommandChannel, command: Command) -> None:
    if isinstance(command, Submit):
        engine.submit(command)
    elif isinstance(command, Abort):
        engine.abort(command)
    elif isinstance(command, Inspect):
        channel.send(engine.inspect(command))


def _load(config: EngineConfig, channel: CommandChannel) -> Engine | None:
    # Importing llama.cpp takes a while and loads its libraries: not before the channel is up.
    from scheduler.backend import LoadError
    from scheduler.llama import LlamaBackend
    from scheduler.llama_log import LogBridge

    log = LogBridge()
    log.install()
    try:
        backend = LlamaBackend(config)
    except LoadError as error:
        detail = f": {log.last_error}" if log.last_error else ""
        channel.send(LoadFailed(f"{error}{detail}"))
        return None
    engine = Engine(
        backend,
        time.monotonic,
        itl_target=config.itl_target_ms / 1000,
        cache_bytes=config.cache_ram_bytes,
    )
    channel.send(Ready(backend.info))
    return engine


def _exit_with_parent() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def _set_up_logging(config: EngineConfig) -> None:
    layout = "%(asctime)s %(levelname).1s engine: %(message)s"
    logging.basicConfig(level=config.log_level, format=layout, stream=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
