"""Streams against a running server while somebody restarts, drains or scales it.

No request may fail or be refused, because clients must not notice a rolling restart. Half of the
clients keep their connections, and half open one per request. All clients pause between requests,
since a stopping server closes idle connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from loadtests.harness.client import Address, KeptConnection, stream
from loadtests.harness.scenario import Record, Request
from loadtests.trials.crowd import QUESTIONS, longest_gap


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options: which server, how long, how many clients."""
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--key", default="", help="an API key")
    parser.add_argument("--seconds", type=float, default=60.0, help="at most")
    parser.add_argument(
        "--until-eof", action="store_true", help="end with the standard input, which is a pipe"
    )
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=100, help="length of an answer")
    parser.add_argument("--pause", type=float, default=0.5, help="at most, between requests")


@dataclass
class Outcomes:
    """The outcomes of one kind of client."""

    begun: float
    records: list[Record] = field(default_factory=list)
    connections: int = 0

    def report(self, name: str) -> list[str]:
        """Print the outcomes; return the errors, with identical ones combined."""
        failed = [record for record in self.records if record.error]
        errors = Counter(record.error for record in failed)
        print(
            f"{name}: {len(self.records)} requests on {self.connections} connections, "
            f"{errors.total()} failed, longest wait for a token {longest_gap(self.records):.2f} s"
        )
        times = ", ".join(f"{record.started - self.begun:.1f}" for record in failed[:20])
        if times:
            print(f"{name}: what failed was sent at {times} s")
        return [f"{name}, {count} times: {error}" for error, count in errors.items()]


async def run(options: argparse.Namespace) -> list[str]:
    """Run the trial and return what went wrong."""
    begun = time.perf_counter()
    kept, fresh = Outcomes(begun), Outcomes(begun)
    is_over = asyncio.Event()
    ending = asyncio.create_task(_end(options, is_over))
    await asyncio.gather(
        *(
            _keep_asking(client, options, is_over, kept if client % 2 else fresh)
            for client in range(options.clients)
        )
    )
    await ending
    return kept.report("connections kept") + fresh.report("one connection each")


async def _end(options: argparse.Namespace, is_over: asyncio.Event) -> None:
    """Set `is_over` at the end of the time, or of the standard input."""
    reader = asyncio.StreamReader()
    if options.until_eof:
        make = functools.partial(asyncio.StreamReaderProtocol, reader)
        await asyncio.get_running_loop().connect_read_pipe(make, sys.stdin)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(reader.read(), options.seconds)
    is_over.set()


async def _keep_asking(
    client: int, options: argparse.Namespace, is_over: asyncio.Event, outcomes: Outcomes
) -> None:
    address = Address(options.host, options.port)
    connection = KeptConnection(address, key=options.key)
    rng = random.Random(client)
    turn = 0
    while not is_over.is_set():
        request = _question(client, turn, options.tokens)
        if client % 2:
            outcomes.records.append(await connection.stream(request))
        else:
            outcomes.records.append(await stream(address, request, key=options.key))
            outcomes.connections += 1
        turn += 1
        await asyncio.sleep(rng.uniform(0, options.pause))
    outcomes.connections += connection.opened
    connection.close()


def _question(client: int, turn: int, tokens: int) -> Request:
    """A chat whose answer has exactly `tokens` tokens."""
    text = f"{QUESTIONS[client % len(QUESTIONS)]} {client} {turn}."
    body = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return Request("/v1/chat/completions", msgspec.json.encode(body), tokens, tokens, "openai")
