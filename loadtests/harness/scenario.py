"""The types that scenarios are made of.

A scenario turns a `Load` (how many clients, which round) into a `Plan` (what each client sends).
The plan depends on nothing else, so a comparison sends the same bytes to both servers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from loadtests.harness.prompts import PromptSource, seed_of
from loadtests.harness.wire import Dialect

OURS, PEER = "llamapack", "llama-server"

MAIN = "main"
"""The role of requests without a special part."""


@dataclass(frozen=True)
class Request:
    """One streamed POST.

    `exact_tokens` is the number of tokens that the answer must have; None if the server may choose
    the length. `cost_tokens` estimates the work, from which the time left is estimated.
    """

    path: str
    payload: bytes
    exact_tokens: int | None
    cost_tokens: float
    dialect: Dialect = "native"
    role: str = MAIN
    prompt: tuple[int, ...] = ()
    """The prompt's tokens; empty for a prompt of text."""


@dataclass
class Record:
    """The outcome of a request, with times in seconds of one monotonic clock."""

    role: str
    started: float
    exact_tokens: int | None = None
    sent: tuple[int, ...] = ()
    """The prompt's tokens; empty for a prompt of text."""
    arrivals: list[float] = field(default_factory=list)
    """Arrival time of each event that carried tokens."""
    pieces: list[int] = field(default_factory=list)
    """Number of tokens in each of these events."""
    tokens: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    finished: float = 0.0
    predicted: int = 0
    prompt: int = 0
    computed: int | None = None
    """Tokens of the prompt that no cache had; None if the server doesn't report it."""
    reason: str = ""
    error: str = ""
    status: int = 0
    """HTTP status; 0 if no response came."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of the response, by lower-case name."""


Step = Request | Callable[[Sequence[Record]], Request]
"""A request, or a function that makes it from the client's earlier answers (a conversation)."""


@dataclass(frozen=True)
class Client:
    """One client, whose steps run one after the other.

    With `after`, the client starts when every client of that role has received its first token.
    """

    steps: tuple[Step, ...]
    role: str = MAIN
    after: str | None = None


@dataclass(frozen=True)
class Plan:
    """The requests that are sent, and the part of them that is measured.

    `latency_role`: the role whose inter-token gaps count. `latency_during`: only gaps count that
    overlap the time from the first request of this role to its last answer. `first_token_role`: the
    role whose time to first token counts. None means all roles.
    """

    clients: tuple[Client, ...]
    latency_role: str | None = None
    latency_during: str | None = None
    first_token_role: str | None = None

    @property
    def cost_tokens(self) -> float:
        """An estimate of the work, in decoded tokens."""
        steps = [step for client in self.clients for step in client.steps]
        return sum(step.cost_tokens if isinstance(step, Request) else 64.0 for step in steps)


@dataclass(frozen=True)
class Load:
    """The input of a plan."""

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
    """OURS or PEER, the program of the server."""
    flags: tuple[str, ...] = ()
    """Further flags for this variant alone."""


AS_THEY_ARE = (Variant(OURS, OURS), Variant(PEER, PEER))


@dataclass(frozen=True)
class Speculation:
    """A variant with speculative decoding; the possible gain is computed from these fields.

    `draft` is its draft model. Without a draft model, a draft is the text that followed the last
    `lookup` tokens at their previous occurrence.
    """

    variant: str
    plain: str
    """The variant of the same program without speculative decoding."""
    max_draft: int
    """Maximum number of tokens of a draft."""
    draft: Path | None = None
    lookup: int = 0


@dataclass(frozen=True)
class Needs:
    """What a scenario needs from the servers; None leaves a value to the command line."""

    slot_tokens: int
    """Context of one slot, in tokens."""
    slots: int | None = None
    threads: int | None = None
    model: str | None = None
    """The name of a bench model."""
    flags: tuple[str, ...] = ()
    """Further flags, for all servers."""
    keys: int = 0
    """API keys of all servers, which the clients use in turn. 0 is a server without keys."""
    variants: tuple[Variant, ...] = AS_THEY_ARE
    ratios: tuple[tuple[str, str], ...] = ((OURS, PEER),)
    """Pairs of variants; the report divides the numbers of the first by the second's."""
    speculation: tuple[Speculation, ...] = ()
    """The variants whose possible gain is reported."""


class Scenario(Protocol):
    """One kind of load. `key_metrics` names the metrics that it measures above all (see
    `measure`)."""

    name: str
    title: str
    key_metrics: tuple[str, ...]
    needs: Needs

    def prepare(self, load: Load) -> Plan:
        """The plan for this load; pure."""
        ...

    def surroundings(self) -> AbstractContextManager[None]:
        """Other activity on the machine while the load runs."""
        ...

    def check(self, record: Record) -> str:
        """What is wrong with an answer that came back complete; empty if nothing is wrong."""
        ...


class Basic:
    """The base of most scenarios: no other activity, and every complete answer is right."""

    def surroundings(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def check(self, record: Record) -> str:
        return ""


def completion(
    prompt: Sequence[int], n_predict: int, *, role: str = MAIN, exact: bool = True, **fields: object
) -> Request:
    """A streamed /completion of a token prompt.

    The request asks for exactly `n_predict` tokens and ignores end-of-text; with `exact=False` it
    asks for at most `n_predict` tokens. The sampler's seed follows from the prompt, so a second run
    samples the same tokens.
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
        prompt=tuple(prompt),
    )
