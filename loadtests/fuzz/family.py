"""What a family of inputs is: how its inputs are made, and how one is tried."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hypothesis.strategies import SearchStrategy

from loadtests.harness.client import Address
from loadtests.trials import raw

PATIENCE_SECONDS = 60.0
"""An answer that takes longer is a fault."""

_SHAPE_CHARS = 100


@dataclass(frozen=True)
class Outcome:
    """What came of one input."""

    shape: str
    """The status and the error without its numbers and names: inputs with a new shape are seeds."""
    seconds: float
    fault: str = ""
    """Why the outcome is wrong whatever others saw, or empty."""


@dataclass(frozen=True)
class Place:
    """Where inputs are tried."""

    address: Address
    folder: Path
    openapi: dict[str, Any]


class Family(Protocol):
    """Inputs of one kind. Every input is bytes, so that all are kept and mutated alike."""

    name: str
    is_served: bool
    """Whether inputs go to the server, beside an innocent client."""

    def strategy(self, place: Place, seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
        """New inputs; some are mutations of the seeds."""
        ...

    async def attempt(self, data: bytes, place: Place) -> Outcome:
        """Try one input."""
        ...


async def posted(place: Place, path: str, body: object) -> Outcome:
    """The outcome of a POST."""
    payload = body if isinstance(body, bytes) else _json(body)
    reply = await raw.send(place.address, "POST", path, payload, timeout_s=PATIENCE_SECONDS)
    return of_reply(reply)


def of_reply(reply: raw.Reply) -> Outcome:
    """The outcome of an answer; none is a 500, and there is one."""
    fault = ""
    if reply.status == 500:
        fault = f"500: {reply.body[:300].decode(errors='replace')}"
    elif reply.status == 0:
        fault = f"no answer: {reply.error or 'the connection was closed'}"
    return Outcome(f"{reply.status} {shape_of(reply.body)}", reply.seconds, fault)


def shape_of(body: bytes) -> str:
    """An error's message without numbers and quoted names."""
    try:
        message = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""
    without_names = re.sub(r"'[^']*'|\"[^\"]*\"", "Q", message)
    return re.sub(r"[0-9]+", "N", without_names)[:_SHAPE_CHARS]


def _json(body: object) -> bytes:
    return json.dumps(body).encode("utf-8", "surrogatepass")
