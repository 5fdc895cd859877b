"""An engine process on the fake backend; the model's path says which fault it shows.

A prompt that begins with `DEADLY` kills the process when it is computed, and one that begins with
`STUN` makes it hang. With `DEADLY_TO_ADD` and `STUN_TO_ADD` that happens when the request is added.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

from protocol.commands import AddRequest
from protocol.config import EngineConfig
from protocol.messages import LoadFailed, Ready
from scheduler.backends.base import Preparation
from scheduler.core.step import Chunk
from scheduler.engine.channel import CommandChannel
from scheduler.engine.engine import Engine
from scheduler.engine.loop import first_config, run
from tests.support.fake_backend import FakeBackend, FakeSampler

DEADLY = 66
STUN = 77
DEADLY_TO_ADD = 68
STUN_TO_ADD = 79


def main() -> int:
    channel = CommandChannel(socket.socket(fileno=int(sys.argv[1])))
    config = first_config(channel)
    if not _loads(config, channel):
        return 3
    backend = PlayBackend(fail_on=_fails)
    channel.send(Ready(backend.info))
    run(Engine(backend, time.monotonic, itl_target=0.1), channel)
    channel.close()
    return 0


class PlayBackend(FakeBackend):
    """Dies or hangs while it makes the sampler of some requests."""

    def sampler(self, request: AddRequest, prepared: Preparation | None = None) -> FakeSampler:
        first = request.spec.prompt[0]
        if first == DEADLY_TO_ADD:
            os.kill(os.getpid(), signal.SIGKILL)
        if first == STUN_TO_ADD:
            time.sleep(600)
        return super().sampler(request)


def _fails(chunks: Sequence[Chunk]) -> bool:
    first = {chunk.sequence.spec.prompt[0] for chunk in chunks}
    if DEADLY in first:
        os.kill(os.getpid(), signal.SIGKILL)
    if STUN in first:
        time.sleep(600)
    time.sleep(0.002)
    return False


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
