"""Bodies of the routes that agents use: whole conversations, changed deep inside."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from loadtests.fuzz.bodies import Bodies, paths, short
from loadtests.fuzz.family import Place
from loadtests.trials.hostile_bodies import ODD, PIECES, valid_body

_ROUTES = re.compile("/messages|/responses|/infill|/control|/render|/input_tokens")

Node = tuple[Any, Any]
"""A list or an object, and an index or a key in it."""


def agent_paths(place: Place) -> list[str]:
    """The routes of this family."""
    return [path for path in paths(place) if _ROUTES.search(path)]


def _nodes(value: Any) -> list[Node]:
    """All places in a body."""
    items: list[Any] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    own = [(value, key) for key, _ in items]
    return [*own, *(node for _, item in items for node in _nodes(item))]


@st.composite
def _body(draw: DrawFn, place: Place) -> bytes:
    path = draw(st.sampled_from(agent_paths(place)))
    body: dict[str, Any] = copy.deepcopy(valid_body(path))
    for _ in range(draw(st.integers(1, 4))):
        nodes = _nodes(body)
        if nodes:
            _change(draw, nodes)
    return path.encode() + b"\n" + json.dumps(short(body)).encode("utf-8", "surrogatepass")


def _change(draw: DrawFn, nodes: list[Node]) -> None:
    """Change one place: to another value, another part of the body, several of them, or nothing."""
    holder, key = draw(st.sampled_from(nodes))
    match draw(st.sampled_from(("odd", "piece", "other", "double", "wrap", "drop"))):
        case "odd":
            holder[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
        case "piece":
            holder[key] = copy.deepcopy(draw(st.sampled_from(PIECES)))
        case "other":
            source, name = draw(st.sampled_from(nodes))
            holder[key] = copy.deepcopy(source[name])
        case "double" if isinstance(holder, list):
            holder.extend([copy.deepcopy(holder[key])] * draw(st.sampled_from((1, 3, 50))))
        case "wrap":
            holder[key] = [holder[key]] if draw(st.booleans()) else {"type": holder[key]}
        case _:
            del holder[key]


class AgentBodies(Bodies):
    """An input's first line is the route."""

    name = "agents"

    def strategy(self, place: Place, seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
        """Changed conversations, and mutations of the seeds' bytes."""
        fresh = _body(place)
        return st.one_of(fresh, fresh, self.mutations(agent_paths(place), seeds))
