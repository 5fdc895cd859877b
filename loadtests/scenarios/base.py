"""What a scenario is: the few types that every file beside this one speaks.

A scenario turns a `Load` (how many clients, which round) into a `Plan` (what each client sends).
The plan depends on nothing else, so both servers of a comparison are sent the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from loadtests.prompts import PromptSource, seed_of
from loadtests.wire import Dialect

OURS, PEER = "llamapack", "llama-server"

MAIN = "main"
"""The role of a request that plays no special part."""


@dataclass(frozen=True)
class Request:
    """One streamed POST.

    `exact_tokens` is the number of tokens that the answer must have; None where the length is the
    server's to choose. `cost_tokens` is a guess of the work, for estimating the time left.
    """

    path: str
    payload: bytes
    exact_tokens: int | None
    cost_tokens: float
    dialect: Dialect = "native"
    role: str = MAIN


@dataclass
class Record:
    """What came back, in seconds of one monotonic clock."""

    role: str
    started: float
    exact_tokens: int | None = None
    arrivals: list[float] = field(default_factory=list)
    """When each event that carried tokens arrived."""
    pieces: list[int] = field(default_factory=list)
    """How many tokens each of those events carried."""
    tokens: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    finished: float = 0.0
    predicted: int = 0
    prompt: int = 0
    computed: int | None = None
    """Tokens of the prompt that no cache had; None if the server doesn't tell."""
    reason: str = ""
    error: str = ""
    status: int = 0
    """Of the HTTP answer; 0 if none came."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of the HTTP answer, by lower-case name."""


Step = Request | Callable[[Sequence[Record]], Request]
"""A request, or a function that makes it from the client's earlier answers (a conversation)."""


@dataclass(frozen=True)
class Client:
    """One client: its steps run one after the other.

    With `after`, it starts when every client of that role has received its first token.
    """

    steps: tuple[Step, ...]
    role: str = MAIN
    after: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is sent, and which part of it is measured.

    `latency_role`: whose inter-token gaps count. `latency_during`: only gaps that overlap the
    time from the first request of this role to the last answer of it.
    `first_token_role`: whose time to first token counts. None means everybody's.
    """

    clients: tuple[Client, ...]
    latency_role: str | None = None
    latency_during: str | None = None
    first_token_role: str | None = None

    @property
    def cost_tokens(self) -> float:
        """A guess of the work, in decoded tokens."""
        steps = [step for client in self.clients for step in client.steps]
        return sum(step.cost_tokens if isinstance(step, Request) else 64.0 for step in steps)


@dataclass(frozen=True)
class Load:
    """What a plan is made for."""

    clients: int
    slots: int
    round: int
    prompts: PromptSource
    seed: int = 0

    def draw(self, count: int, *what: object) -> list[int]:
        """`count` random token ids, different for each round, number of clients and `what`."""
        return self.prompts.tokens(count, self.seed, self.clients, self.round, *what)


@dataclass(frozen=True)
class Variant:
    """One of the servers that a scenario compares."""

    name: str
    program: str
    """OURS or PEER."""
    flags: tuple[str, ...] = ()
    """Further flags for it alone."""


AS_THEY_ARE = (Variant(OURS, OURS), Variant(PEER, PEER))


@dataclass(frozen=True)
class Guessing:
    """A variant that guesses ahead: what it could gain at most follows from these.

    `draft` is its draft model; without one, guesses are what followed the last `lookup` tokens
    where they stood before.
    """

    variant: str
    plain: str
    """The same program without guessing."""
    most: int
    """Tokens of a guess."""
    draft: Path | None = None
    lookup: int = 0


@dataclass(frozen=True)
class Needs:
    """What a scenario needs of the servers; None leaves it to the command line."""

    slot_tokens: int
    """Context of one slot, in tokens."""
    slots: int | None = None
    threads: int | None = None
    model: str | None = None
    """A bench model's name."""
    flags: tuple[str, ...] = ()
    """Further flags, for all servers."""
    variants: tuple[Variant, ...] = AS_THEY_ARE
    ratios: tuple[tuple[str, str], ...] = ((OURS, PEER),)
    """Pairs of variants whose numbers are divided."""
    guessing: tuple[Guessing, ...] = ()
    """Of which variants the possible gain is told."""


class Scenario(Protocol):
    """One kind of load. `key_metrics` names the metrics that it is about (see `measure`)."""

    name: str
    title: str
    key_metrics: tuple[str, ...]
    needs: Needs

    def prepare(self, load: Load) -> Plan:
        """The plan for this load; pure."""
        ...

    def surroundings(self) -> AbstractContextManager[None]:
        """What else happens on the machine while the load runs."""
        ...

    def check(self, record: Record) -> str:
        """What is wrong with an answer that came back whole; empty where nothing is."""
        ...


class Basic:
    """Nothing else goes on, and every whole answer is right: the base of most scenarios."""

    def surroundings(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def check(self, record: Record) -> str:
        return ""


def completion(
    prompt: Sequence[int], n_predict: int, *, role: str = MAIN, exact: bool = True, **fields: object
) -> Request:
    """A streamed /completion of a token prompt.

    It asks for exactly `n_predict` tokens, end-of-text being ignored; or, with `exact=False`, for
    at most so many. The sampler's seed follows from the prompt, so a rerun samples alike.
    """
    body = {
        "prompt": list(prompt),
        "n_predict": n_predict,
        "stream": True,
        "seed": seed_of(*prompt) & 0x7FFFFFFF,
        **({"ignore_eos": True} if exact else {}),
        **fields,
    }
    return Request(
        path="/completion",
        payload=msgspec.json.encode(body),
        exact_tokens=n_predict if exact else None,
        cost_tokens=n_predict + 0.3 * len(prompt),
        role=role,
    )
