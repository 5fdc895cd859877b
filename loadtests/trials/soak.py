"""Saturation for minutes: memory, file descriptors and slots must not leak.

More clients than slots send growing chats, extractions under a schema and long greedy answers. Some
clients leave in the middle. After a warm-up, resident memory of both processes must not grow. At
the end everything has to be idle.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import psutil

from loadtests.harness.client import Address
from loadtests.harness.scenario import Request
from loadtests.harness.servers import Server
from loadtests.harness.subject import api_process, busy_slots, engine_of, metric, serving
from loadtests.trials import raw
from loadtests.trials.crowd import Crowd, greedy

WORDS = ("river", "paper", "seven", "window", "quiet", "garden", "letter", "stone", "music")
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
SAMPLE_SECONDS = 5.0
FLAGS = ("--cache-ram", "32", "--max-queue", "64", "-t", "1")
"""A small cache in host memory, so that the cache is full when the warm-up ends."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options: how long, how many clients, and the allowed growth."""
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--warm-up", type=float, default=120.0, help="seconds that don't count")
    parser.add_argument("--clients", type=int, default=16, help="for 8 slots")
    parser.add_argument("--growth", type=float, default=2.0, help="of resident memory, in percent")


@dataclass
class Samples:
    """Samples of one process, taken every few seconds."""

    process: psutil.Process
    rss: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def take(self) -> None:
        """Take one sample."""
        self.rss.append(self.process.memory_info().rss)
        self.descriptors.append(self.process.num_fds())

    def growth(self, first: int) -> float:
        """Growth in percent from the samples after `first` to the last ones, by medians of a fifth
        each."""
        counted = self.rss[first:]
        fifth = max(len(counted) // 5, 1)
        before = statistics.median(counted[:fifth])
        return 100 * (statistics.median(counted[-fifth:]) / before - 1)


async def run(options: argparse.Namespace) -> list[str]:
    """Run the trial and return what went wrong."""
    async with serving(*FLAGS) as server:
        engine = engine_of(server)
        assert engine is not None
        watched = {"API process": Samples(api_process(server)), "engine": Samples(engine)}
        await raw.send(server.address, "GET", "/props")
        idle = {name: samples.process.num_fds() for name, samples in watched.items()}
        crowd = Crowd(server.address, _question)
        work = asyncio.gather(
            crowd.run(options.clients), _leave_early(server.address, crowd, options.clients)
        )
        first = await _watch(watched, options)
        crowd.is_over = True
        await work
        problems = [f"{place}: {error}" for place, error in crowd.failures.items()]
        problems += _judge(watched, first, options.growth)
        problems += await _afterwards(server, watched, idle)
        tokens = await metric(server, "vllm:generation_tokens_total")
    kinds = Counter(turn % 4 for _, turn in crowd.records)
    print(f"{len(crowd.records)} answers ({dict(kinds)} by kind), {tokens:.0f} tokens")
    return problems


def _question(client: int, turn: int) -> Request:
    """A chat of several turns, an extraction, a long greedy answer, or random words."""
    rng = random.Random(f"{client} {turn}")
    if turn % 4 == 0:
        return _chat([_sentence(rng, 12) for _ in range(1 + turn % 12)])
    if turn % 4 == 1:
        wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
        return _chat([_sentence(rng, 20)], response_format=wanted)
    if turn % 4 == 2:
        return greedy(client, turn, 100)
    body = {"prompt": _sentence(rng, 80), "n_predict": 60, "stream": True, "ignore_eos": True}
    return Request("/completion", msgspec.json.encode(body), 60, 60)


def _sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words)) + "."


def _chat(texts: list[str], **fields: object) -> Request:
    roles = ("user", "assistant")
    texts = texts if len(texts) % 2 else [*texts, "Go on."]
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    body = {
        "messages": messages,
        "max_tokens": 80,
        "stream": True,
        "stream_options": {"include_usage": True},
        **fields,
    }
    return Request("/v1/chat/completions", msgspec.json.encode(body), None, 80, "openai")


async def _leave_early(address: Address, crowd: Crowd, client: int) -> None:
    """Start answers, and disconnect before their end."""
    for turn in range(1 << 30):
        if crowd.is_over:
            return
        payload = greedy(client, turn, 400).payload
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(raw.head("POST", "/completion", len(payload)) + payload)
        await reader.read(1000)
        await asyncio.sleep(0.2)
        writer.close()


async def _watch(watched: dict[str, Samples], options: argparse.Namespace) -> int:
    """Sample until the time is over; return the number of samples of the warm-up."""
    begun = time.monotonic()
    first = 0
    while (passed := time.monotonic() - begun) < options.seconds:
        await asyncio.sleep(SAMPLE_SECONDS)
        for samples in watched.values():
            samples.take()
        first += passed < options.warm_up
    return first


def _judge(watched: dict[str, Samples], first: int, allowed: float) -> list[str]:
    problems = []
    for name, samples in watched.items():
        growth = samples.growth(first)
        every = samples.rss[:: max(len(samples.rss) // 12, 1)]
        shown = " ".join(f"{rss / 2**20:.1f}" for rss in every)
        print(f"{name}: {growth:+.2f} % after the warm-up; MiB: {shown}")
        if growth > allowed:
            problems.append(f"{name} grew by {growth:.2f} %")
    return problems


async def _afterwards(
    server: Server, watched: dict[str, Samples], idle: dict[str, int]
) -> list[str]:
    """Check that everything is idle, and as it was before."""
    await asyncio.sleep(2)
    problems = []
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting"):
        if value := await metric(server, name):
            problems.append(f"{name} is {value:.0f} in the end")
    if busy := await busy_slots(server):
        problems.append(f"{busy} slots are busy in the end")
    if deaths := await metric(server, "llamapack_engine_restarts_total"):
        problems.append(f"the engine died {deaths:.0f} times")
    for name, samples in watched.items():
        left = samples.process.num_fds()
        most = max(samples.descriptors)
        print(f"{name}: {idle[name]} file descriptors before, {most} at most, {left} afterwards")
        if left > idle[name] + 2:
            problems.append(f"{name} has {left} file descriptors, {idle[name]} before")
    return problems
