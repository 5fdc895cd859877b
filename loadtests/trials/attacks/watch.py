"""An innocent client beside the attacks, in a process of its own: what it gets, and what it sees.

In the attackers' process the innocent client would also wait for the attackers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

import msgspec
import psutil

from loadtests.harness import loops
from loadtests.harness.client import Address, get, stream
from loadtests.harness.processes import MIB
from loadtests.harness.scenario import Record, Request
from loadtests.trials import raw

STREAM_TOKENS, CHAT_TOKENS = 150, 8
NEAR_TIE = 0.3
"""Least difference of two log-probabilities that another order of sums can't turn round."""

LEAST_SURE = 40
"""Characters of an answer before the first near tie."""

PROMPTS = (
    "Once upon a time",
    "One two three four five six seven",
    "The capital of France is",
    "1 2 3 4 5 6 7 8 9 10",
    "a a a a a a a a a a a a",
    "The quick brown fox jumps over the lazy dog. The quick brown fox",
)
ANSWER_SECONDS = 90.0
HEALTH_EVERY = 0.05
HEALTH_SECONDS = 60.0
SAMPLE_EVERY = 0.02
LOOKS_FOR_ENGINE = 25
"""Samples between two looks for a new engine."""


@dataclass(frozen=True)
class Watched:
    """The server that is watched, and the texts that the innocent client had from it alone."""

    address: Address
    pid: int
    keys: tuple[str, str] = ("", "")
    """Of the stream, and of the chats: each key has a place in a full queue."""


@dataclass
class Memory:
    """Resident memory of a process in MiB."""

    before: float = 0.0
    peak: float = 0.0
    after: float = 0.0

    def take(self, mib: float) -> None:
        """Note a sample."""
        self.before = self.before or mib
        self.peak = max(self.peak, mib)
        self.after = mib

    @property
    def growth(self) -> float:
        """The most MiB above the beginning."""
        return max(self.peak, self.after) - self.before


@dataclass
class Sighting:
    """What the innocent client saw during one attack."""

    gap_s: float = 0.0
    """The longest time between two tokens of a stream."""
    wait_s: float = 0.0
    """The longest wait for a first token."""
    health_s: float = 0.0
    """The slowest answer of /health."""
    health: dict[int, int] = field(default_factory=dict)
    """Number of answers of /health by status; 0 is no answer."""
    answers: int = 0
    changed: int = 0
    """Answers with another text than alone."""
    failures: list[str] = field(default_factory=list)
    api: Memory = field(default_factory=Memory)
    engine: Memory = field(default_factory=Memory)
    others: Memory = field(default_factory=Memory)
    """All other processes of the server together."""


class Watcher:
    """The process of the innocent client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def begin(self) -> None:
        """Watch from now on."""
        self._connection.send("begin")
        await asyncio.to_thread(self._connection.recv)

    async def end(self) -> Sighting:
        """Stop watching; the sighting comes when the last answers have ended."""
        self._connection.send("end")
        sighting = await asyncio.to_thread(self._connection.recv)
        assert isinstance(sighting, Sighting)
        return sighting


@asynccontextmanager
async def watching(watched: Watched) -> AsyncIterator[Watcher]:
    """A watcher, which has learnt what its answers are as long as it is alone."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_live, args=(watched, theirs))
    process.start()
    theirs.close()
    try:
        await asyncio.to_thread(ours.recv)
        yield Watcher(ours)
    finally:
        ours.close()
        process.terminate()
        process.join()


@dataclass(frozen=True)
class _Question:
    """A request, and the beginning of its answer that is the same every time."""

    request: Request
    key: str
    expected: str = ""


def _streams() -> list[Request]:
    """Long answers, of which the innocent client takes the one that is surest of its words."""
    return [
        Request("/completion", _greedy(prompt=text, n_predict=STREAM_TOKENS), STREAM_TOKENS, 1.0)
        for text in PROMPTS
    ]


def _chat() -> Request:
    content = "What is the capital of France?"
    payload = _greedy(
        messages=[{"role": "user", "content": content}],
        max_tokens=CHAT_TOKENS,
        stream_options={"include_usage": True},
    )
    return Request("/v1/chat/completions", payload, None, 1.0, "openai")


def _greedy(**fields: object) -> bytes:
    body = {"temperature": 0, "ignore_eos": True, "stream": True, **fields}
    return msgspec.json.encode(body)


def _live(watched: Watched, connection: Connection) -> None:
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        alone = loops.run(_alone(watched))
        connection.send("ready")
        while True:
            connection.recv()
            connection.send(loops.run(_Watch(watched, alone, connection).run()))


async def _alone(watched: Watched) -> list[_Question]:
    """What the innocent client asks, and what the answers are without anybody else."""
    surest = max([await _sure(watched, request) for request in _streams()], key=_length)
    assert _length(surest) >= LEAST_SURE, "the model is sure of no answer"
    chat = _Question(_chat(), watched.keys[1])
    record = await _ask(watched, chat)
    assert not record.error, record
    return [surest, replace(chat, expected="".join(record.text))]


def _length(question: _Question) -> int:
    return len(question.expected)


async def _sure(watched: Watched, request: Request) -> _Question:
    """The question, with its answer up to the first near tie: a sum in another order may end a near
    tie otherwise."""
    body = {**msgspec.json.decode(request.payload), "stream": False, "n_probs": 2}
    key = watched.keys[0]
    headers = (f"Authorization: Bearer {key}",) if key else ()
    payload = msgspec.json.encode(body)
    reply = await raw.send(watched.address, "POST", request.path, payload, headers=headers)
    tokens = msgspec.json.decode(reply.whole)["completion_probabilities"]
    sure = itertools.takewhile(_is_sure, tokens)
    return _Question(request, key, "".join(token["token"] for token in sure))


def _is_sure(token: dict[str, Any]) -> bool:
    first, second = (float(top["logprob"]) for top in token["top_logprobs"])
    return first - second > NEAR_TIE


async def _ask(watched: Watched, question: _Question) -> Record:
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await stream(watched.address, question.request, key=question.key)
    except TimeoutError:
        error = f"no end after {ANSWER_SECONDS:.0f} s"
        return Record(question.request.role, begun, arrivals=[begun + ANSWER_SECONDS], error=error)


class _Watch:
    """The watching of one attack."""

    def __init__(self, watched: Watched, alone: list[_Question], connection: Connection) -> None:
        self._watched = watched
        self._alone = alone
        self._connection = connection
        self._sighting = Sighting()
        self._is_over = False
        self._processes = _Processes(watched.pid)

    async def run(self) -> Sighting:
        """Watch until the connection says that it is over."""
        self._processes.sample(self._sighting)
        self._connection.send("watching")
        await asyncio.gather(
            self._wait_for_end(), *map(self._ask_again, self._alone), self._probe(), self._sample()
        )
        self._processes.sample(self._sighting)
        return self._sighting

    async def _wait_for_end(self) -> None:
        await asyncio.to_thread(self._connection.recv)
        self._is_over = True

    async def _ask_again(self, question: _Question) -> None:
        seen = self._sighting
        asked = 0
        while not self._is_over or not asked:
            record = await _ask(self._watched, question)
            asked += 1
            self._note(record, question.expected)
            if record.error:
                await asyncio.sleep(0.2)
        seen.answers += asked

    def _note(self, record: Record, expected: str) -> None:
        seen = self._sighting
        seen.gap_s = max(seen.gap_s, *_gaps(record.arrivals), 0.0)
        seen.wait_s = max(seen.wait_s, *_gaps([record.started, *record.arrivals[:1]]), 0.0)
        if record.error:
            seen.failures.append(record.error)
        elif not "".join(record.text).startswith(expected):
            seen.changed += 1

    async def _probe(self) -> None:
        seen = self._sighting
        while not self._is_over:
            begun, status = time.perf_counter(), 0
            with contextlib.suppress(OSError, TimeoutError):
                status, _ = await get(self._watched.address, "/health", HEALTH_SECONDS)
            seen.health[status] = seen.health.get(status, 0) + 1
            seen.health_s = max(seen.health_s, time.perf_counter() - begun)
            await asyncio.sleep(HEALTH_EVERY)

    async def _sample(self) -> None:
        while not self._is_over:
            self._processes.sample(self._sighting)
            await asyncio.sleep(SAMPLE_EVERY)


def _gaps(times: list[float]) -> list[float]:
    return [later - sooner for sooner, later in itertools.pairwise(times)]


class _Processes:
    """The server's processes, of which the engine and helpers may be replaced at any time."""

    def __init__(self, pid: int) -> None:
        self._api = psutil.Process(pid)
        self._engine: psutil.Process | None = None
        self._others: list[psutil.Process] = []
        self._looks = 0

    def sample(self, seen: Sighting) -> None:
        """Add the memory of now to the sighting."""
        if self._looks % LOOKS_FOR_ENGINE == 0:
            self._look()
        self._looks += 1
        if api := _resident_mib([self._api]):
            seen.api.take(api)
        if self._engine is not None and (engine := _resident_mib([self._engine])):
            seen.engine.take(engine)
        seen.others.take(_resident_mib(self._others))

    def _look(self) -> None:
        self._engine, self._others = None, []
        with contextlib.suppress(psutil.Error):
            for child in self._api.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "scheduler" in child.cmdline():
                        self._engine = child
                    else:
                        self._others.append(child)


def _resident_mib(processes: list[psutil.Process]) -> float:
    """Resident memory of those that live."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total / MIB
