"""The scenarios as a live load with locust's web page.

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8080 --class-picker

Each scenario is a class of users; a user sends its requests one after the other, for ever. Besides
locust's own entry for each POST (which ends with the headers of the answer) there are three:
`TTFT` (time to first token), `ITL` (gap between tokens) and `ANSWER` (the whole answer, failed
unless it has every token that was asked for).
"""

from __future__ import annotations

import contextlib
import itertools
import random
import string
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import msgspec
from locust import HttpUser, events

from loadtests.prompts import PromptSource, seed_of
from loadtests.reception import Reception
from loadtests.scenarios import load_all
from loadtests.scenarios.base import Load, Record, Request, Scenario

WORDS = 4000
"""Random words that are tokenized to make a pool of token ids."""


def add_arguments(parser: ArgumentParser) -> None:
    """What plans depend on, beside the number of users."""
    help_ = "users that one plan is made for: those who share a prefix, for example"
    parser.add_argument("--plan-clients", type=int, default=8, help=help_)
    parser.add_argument("--slots", type=int, default=8, help="slots of the server")
    parser.add_argument("--plan-seed", type=int, default=0, help="other prompts")


events.init_command_line_parser.add_listener(add_arguments)


class StreamingUser(HttpUser):  # type: ignore[misc]  # locust's types are not followed
    """Sends the requests of one client of its scenario's plans, round after round."""

    abstract = True
    scenario: Scenario
    numbers: ClassVar[Iterator[int]]
    pools: ClassVar[dict[str, PromptSource]]

    def on_start(self) -> None:
        self._number = next(type(self).numbers)
        if self.host not in self.pools:
            self.pools[self.host] = self._make_pool()
        self._requests = self._endless()

    def send_next(self) -> None:
        """The one task: send a request, report what came of it."""
        request = next(self._requests)
        self._records.append(self._send(request))

    tasks: ClassVar[list[Callable[..., None]]] = [send_next]

    def _make_pool(self) -> PromptSource:
        """Token ids of random words: ordinary ones, whatever the model."""
        rng = random.Random(seed_of("pool"))
        letters = string.ascii_lowercase
        words = ["".join(rng.choices(letters, k=rng.randint(2, 7))) for _ in range(WORDS)]
        response = self.client.post("/tokenize", json={"content": " ".join(words)})
        response.raise_for_status()
        return PromptSource(tuple(sorted(set(response.json()["tokens"]))))

    def _endless(self) -> Iterator[Request]:
        options = self.environment.parsed_options
        for round_ in itertools.count():
            load = Load(
                options.plan_clients,
                options.slots,
                round_,
                self.pools[self.host],
                options.plan_seed,
            )
            clients = self.scenario.prepare(load).clients
            self._records: list[Record] = []
            for step in clients[self._number % len(clients)].steps:
                yield step if isinstance(step, Request) else step(self._records)

    def _send(self, request: Request) -> Record:
        started = time.perf_counter()
        reception = Reception(request, started)
        headers = {"Content-Type": "application/json"}
        name = f"{request.path} ({self.scenario.name})"
        try:
            response = self.client.post(
                request.path, data=request.payload, headers=headers, stream=True, name=name
            )
            with contextlib.closing(response):
                self._receive(response, reception)
        except (OSError, msgspec.DecodeError) as error:
            reception.record.error = f"{type(error).__name__}: {error}"
        record = reception.end(time.perf_counter())
        record.error = record.error or self.scenario.check(record)
        self._report(record)
        return record

    def _receive(self, response: Any, reception: Reception) -> None:
        """Take the stream, reporting each token as it comes."""
        if response.status_code != 200:
            reception.record.error = f"HTTP {response.status_code}: {response.text[:500]}"
            return
        arrivals, told = reception.record.arrivals, 0
        for data in response.iter_content(chunk_size=None):
            reception.take(data, time.perf_counter())
            for index in range(told, len(arrivals)):
                before = arrivals[index - 1] if index else reception.record.started
                self._fire("ITL" if index else "TTFT", arrivals[index] - before)
            told = len(arrivals)

    def _report(self, record: Record) -> None:
        error = RuntimeError(record.error) if record.error else None
        self._fire("ANSWER", record.finished - record.started, record.predicted, error)

    def _fire(
        self, kind: str, seconds: float, tokens: int = 0, error: Exception | None = None
    ) -> None:
        """An entry of locust's statistics; the length column holds the number of tokens."""
        self.environment.events.request.fire(
            request_type=kind,
            name=self.scenario.name,
            response_time=1e3 * seconds,
            response_length=tokens,
            exception=error,
            context={},
        )


def _user_class(scenario: Scenario) -> type[StreamingUser]:
    name = "".join(part.capitalize() for part in scenario.name.split("-"))
    members = {"scenario": scenario, "pools": {}, "abstract": False, "numbers": itertools.count()}
    return type(name, (StreamingUser,), members)


globals().update({cls.__name__: cls for cls in map(_user_class, load_all().values())})
