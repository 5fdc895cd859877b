"""`python -m loadtests.reception.engine FD`: an engine that says what it was ordered to say.

It computes nothing, so all that a token costs is the API process's. It takes the place of
`python -m scheduler FD`.
"""

from __future__ import annotations

import fcntl
import select
import signal
import socket
import sys
import termios
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from loadtests.reception.script import (
    AS_TAKEN,
    STEP_BY_STEP,
    Orders,
    given_orders,
    logprob_at,
    stream_number,
)
from protocol.codec import Codec, Frames
from protocol.commands import Abort, AddRequest, Command, Load, Shutdown
from protocol.events import Event, Finished, FinishReason, Generated, Started, TokenLogprobs
from protocol.messages import Heartbeat, Message, ModelInfo, Ready, StepOutputs, StepStats

N_CTX_SLOT = 1 << 20
READ_BYTES = 1 << 16
IDLE_SECONDS = 1.0
LOOK_SECONDS = 0.00002
"""How often the engine looks whether its last step was read."""


@dataclass
class Stream:
    """An answer that is being said."""

    request_id: int
    slot: int
    tokens: deque[int]
    with_logprobs: bool
    num_said: int = 0

    def say(self) -> Generated:
        """The next token. Its log-probability tells its place."""
        token = self.tokens.popleft()
        logprobs = [TokenLogprobs(logprob_at(self.num_said), [])] if self.with_logprobs else []
        self.num_said += 1
        return Generated(self.request_id, [token], logprobs)


class Wire:
    """The socket to the API process. Sending waits until the socket takes it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._codec = Codec()
        self._frames = Frames()
        self.is_closed = False

    def commands(self, seconds: float) -> Iterator[Command]:
        """The commands that have come; waits so many seconds for the first."""
        while not self.is_closed and select.select([self._socket], [], [], seconds)[0]:
            data = self._socket.recv(READ_BYTES)
            self.is_closed = not data
            for frame in self._frames.feed(data):
                yield self._codec.decode_command(frame)
            seconds = 0.0

    def send(self, message: Message) -> None:
        """Send a message."""
        self._socket.sendall(self._codec.frame(message))

    def wait_taken(self) -> None:
        """Wait until the API process has read everything."""
        buffer = bytearray(4)
        while True:
            fcntl.ioctl(self._socket, termios.TIOCOUTQ, buffer)
            if not any(buffer) or self.is_closed:
                return
            time.sleep(LOOK_SECONDS)


class ScriptedEngine:
    """Takes requests, and says a token of each stream in every step."""

    def __init__(self, orders: Orders, wire: Wire) -> None:
        self._orders = orders
        self._wire = wire
        self._waiting: list[AddRequest] = []
        self._streams: dict[int, Stream] = {}
        self._due = 0.0

    def run(self) -> None:
        """Work until `Shutdown`, or until the API process is gone."""
        while not self._wire.is_closed:
            for command in self._wire.commands(0.0 if self._streams else IDLE_SECONDS):
                if isinstance(command, Shutdown):
                    return
                self._obey(command)
            if self._streams:
                self._step()
            else:
                self._wire.send(Heartbeat(time.monotonic()))

    def _obey(self, command: Command) -> None:
        match command:
            case Load():
                self._wire.send(Ready(_info(self._orders.num_streams)))
            case AddRequest():
                self._waiting.append(command)
                if len(self._waiting) == self._orders.num_streams:
                    self._begin()
            case Abort():
                for request_id in command.request_ids:
                    self._streams.pop(request_id, None)

    def _begin(self) -> None:
        """Start all that wait, so that nothing of their requests is left to do."""
        begin = time.monotonic()
        for slot, request in enumerate(self._waiting):
            sampling = request.spec.sampling
            tokens = deque(self._orders.tokens(stream_number(sampling), request.spec.max_tokens))
            self._streams[request.request_id] = Stream(
                request.request_id, slot, tokens, sampling.top_logprobs >= 0
            )
        started: list[Event] = [Started(one.request_id, one.slot, 0) for one in self._all()]
        queued = [request.request_id for request in self._waiting]
        self._waiting.clear()
        self._wire.send(StepOutputs(begin, time.monotonic(), started, None, queued))
        self._due = time.monotonic()

    def _step(self) -> None:
        begin = time.monotonic()
        events: list[Event] = []
        for stream in self._all():
            events.append(stream.say())
            if not stream.tokens:
                events.append(Finished(stream.request_id, FinishReason.MAX_TOKENS))
                del self._streams[stream.request_id]
        stats = _stats(len(events), len(self._streams))
        self._wait_for_turn(len(events))
        self._wire.send(StepOutputs(begin, time.monotonic(), events, stats))

    def _wait_for_turn(self, num_tokens: int) -> None:
        pace = self._orders.pace
        if pace == STEP_BY_STEP:
            self._wire.wait_taken()
        elif pace != AS_TAKEN:
            self._due += num_tokens / pace
            time.sleep(max(self._due - time.monotonic(), 0.0))

    def _all(self) -> list[Stream]:
        return list(self._streams.values())


def _info(num_slots: int) -> ModelInfo:
    return ModelInfo(
        n_ctx=num_slots * N_CTX_SLOT,
        n_ctx_slot=N_CTX_SLOT,
        n_slots=num_slots,
        n_vocab=0,
        n_params=0,
        size_bytes=0,
        description="scripted",
        file_type="none",
        system_info="",
        cell_bytes=1,
        can_trim=True,
    )


def _stats(num_tokens: int, num_running: int) -> StepStats:
    """The statistics that every step of an engine has."""
    return StepStats(1e-4, 1e-2, 1e-4, 1e-4, 1e-4, num_tokens, 0, num_running, 0, 0)


def main(arguments: list[str]) -> int:
    """Work at the end of an inherited socket; the API process says when to stop."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(arguments[1])) as sock:
        ScriptedEngine(given_orders(), Wire(sock)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
