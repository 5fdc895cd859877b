"""Clients that ask questions in a loop until they are told to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from loadtests.harness.client import Address, stream
from loadtests.harness.scenario import Record, Request

ANSWER_SECONDS = 300.0

QUESTIONS = (
    "What is the capital of France?",
    "One two three",
    "The weather is",
    "Once upon a time",
    "Say something about the number",
    "My name is",
    "The sum of seven and five is",
    "A short story about a fox:",
)


def greedy(client: int, turn: int, n_predict: int) -> Request:
    """A question that depends only on the numbers, and whose answer is always the same."""
    text = f"{QUESTIONS[client % len(QUESTIONS)]} {client} {turn}."
    body = {
        "prompt": text,
        "n_predict": n_predict,
        "stream": True,
        "temperature": 0,
        "ignore_eos": True,
    }
    return Request("/completion", msgspec.json.encode(body), n_predict, n_predict)


@dataclass
class Crowd:
    """The answers of some clients, by (client, turn)."""

    address: Address
    question: Callable[[int, int], Request]
    key: str = ""
    records: dict[tuple[int, int], Record] = field(default_factory=dict)
    is_over: bool = False

    async def ask(self, client: int, turn: int) -> Record:
        """Ask one question and return its answer; an endless answer counts as an error."""
        begun = time.perf_counter()
        request = self.question(client, turn)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                record = await stream(self.address, request, key=self.key)
        except TimeoutError:
            record = Record(request.role, begun, error=f"no end after {ANSWER_SECONDS:.0f} s")
        self.records[client, turn] = record
        return record

    async def keep_asking(self, client: int, turns: int = 1 << 30) -> None:
        """Ask `turns` questions as one client."""
        for turn in range(turns):
            if self.is_over:
                return
            await self.ask(client, turn)

    async def run(self, clients: int, turns: int = 1 << 30) -> None:
        """Run all clients; return once `is_over` is set and the last answers have come."""
        await asyncio.gather(*(self.keep_asking(client, turns) for client in range(clients)))

    @property
    def failures(self) -> dict[tuple[int, int], str]:
        """The errors, by client and turn."""
        return {place: record.error for place, record in self.records.items() if record.error}

    @property
    def texts(self) -> dict[tuple[int, int], str]:
        """The complete answers, by client and turn."""
        return {
            place: "".join(record.text)
            for place, record in self.records.items()
            if not record.error
        }


def longest_gap(records: list[Record]) -> float:
    """The longest time in seconds that a client waited for a token."""
    return max(
        (
            later - sooner
            for record in records
            for sooner, later in zip(
                [record.started, *record.arrivals], record.arrivals, strict=False
            )
        ),
        default=0.0,
    )
