"""Plays an engine process on the fake backend; the model's path says what is to go wrong."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from scheduler.__main__ import _first_config, run
from scheduler.engine import Engine
from scheduler.fake import FakeBackend
from scheduler.protocol import EngineConfig, LoadFailed, Ready
from scheduler.transport import CommandChannel


def main() -> int:
    channel = CommandChannel(socket.socket(fileno=int(sys.argv[1])))
    config = _first_config(channel)
    if not _loads(config, channel):
        return 3
    backend = FakeBackend()
    channel.send(Ready(backend.info))
    run(Engine(backend, time.monotonic, itl_target=0.1), channel)
    channel.close()
    return 0


def _loads(config: EngineConfig, channel: CommandChannel) -> bool:
    if config.model_path == "refuse":
        channel.send(LoadFailed("the file is damaged"))
        channel.close()
        return False
    if config.model_path == "load forever":
        time.sleep(60)
    if config.model_path == "crash with repack" and config.use_repack:
        os.kill(os.getpid(), signal.SIGKILL)
    return config.model_path != "exit"


if __name__ == "__main__":
    sys.exit(main())
