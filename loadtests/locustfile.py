"""The scenarios as a continuous load with locust's web page.

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8080 --class-picker

Each scenario is a class of users. A user sends its requests one after the other, for ever. An
answer is a failure unless it has every token that was asked for. `loadtests.streaming_user` says
what is measured.
"""

from __future__ import annotations

import itertools
import random
import string
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from typing import ClassVar

from locust import events

from loadtests.harness.prompts import PromptSource, seed_of
from loadtests.harness.scenario import Load, Record, Request, Scenario
from loadtests.scenarios import load_all
from loadtests.streaming_user import StreamingUser

WORDS = 4000
"""Number of random words that are tokenized to make a pool of token ids."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options that plans depend on, besides the number of users."""
    help_ = "users that one plan is made for: those who share a prefix, for example"
    parser.add_argument("--plan-clients", type=int, default=8, help=help_)
    parser.add_argument("--slots", type=int, default=8, help="slots of the server")
    parser.add_argument("--plan-seed", type=int, default=0, help="other prompts")


events.init_command_line_parser.add_listener(add_arguments)


class ScenarioUser(StreamingUser):
    """Sends the requests of one client of a scenario's plans, round after round."""

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
        """Send the next request and report the outcome."""
        request = next(self._requests)
        self._records.append(self.send(request, self.scenario.name, self.scenario.check))

    tasks: ClassVar[list[Callable[..., None]]] = [send_next]

    def _make_pool(self) -> PromptSource:
        """Token ids of random words: ordinary tokens for every model."""
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


def _user_class(scenario: Scenario) -> type[ScenarioUser]:
    name = "".join(part.capitalize() for part in scenario.name.split("-"))
    members = {"scenario": scenario, "pools": {}, "abstract": False, "numbers": itertools.count()}
    return type(name, (ScenarioUser,), members)


globals().update({cls.__name__: cls for cls in map(_user_class, load_all().values())})
